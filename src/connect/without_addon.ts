// Source options that cannot be honoured where there is no addon.
import { unsupported } from '../errors/connectx_error';
import { DISABLE_VARIABLE } from '../kernel/load';
import type { Source } from '../source/options';

/** Throws when the source asks for something that cannot be done without the addon; a slice of a pool is a range. */
export function refuseOnFallback(source: Source): void {
  const { extras, range, chooseRange, reuseTimeWait } = source;
  const why =
    process.platform === 'linux'
      ? `${DISABLE_VARIABLE} is set, and connectx behaves as off Linux`
      : `it needs Linux, and this is ${process.platform}`;
  if (range !== undefined || chooseRange !== undefined) throw unsupported('localPortRange', why);
  if (reuseTimeWait) throw unsupported('reuseTimeWait', why);
  for (const [name, value] of Object.entries(extras ?? {})) {
    if (value !== undefined && value !== false) throw unsupported(name, why);
  }
}
