// Loads the addon, or says why it cannot.
import { join } from 'node:path';
import { isError, unsupported } from '../errors/connectx_error';
import type { Native } from './addon';
import { runtime, titleOf } from './runtime';

/** How the addon came to be here, or why it did not. */
export type Loaded = { readonly native: Native } | { readonly native: undefined; readonly error: Error | undefined };

/**
 * Set in the environment, it makes connectx behave as it does off Linux. For tests and for finding out whether a problem
 * is connectx's.
 */
export const DISABLE_VARIABLE = 'CONNECTX_DISABLE_NATIVE';

/** Never throws: without the addon, `error` says why (undefined: none is expected here). */
export function load(): Loaded {
  return loaded;
}

function loadNow(): Loaded {
  if (process.platform !== 'linux') return { native: undefined, error: undefined };
  if (process.env[DISABLE_VARIABLE]) return { native: undefined, error: undefined };
  try {
    return { native: loadAddon(join(__dirname, '..')) };
  } catch (error) {
    return { native: undefined, error: isError(error) ? error : new Error(String(error)) };
  }
}

type NodeGypBuild = ((directory: string) => unknown) & { resolve(directory: string): string };

/** One command, which docs/install.md has too. */
const howToBuild = (root: string) =>
  `build one, in your project: \`npm install --no-save node-addon-api node-gyp && npx node-gyp rebuild -C ${join(root, 'native')}\` ` +
  '(with Python, make and a C++17 compiler)';

const ADDONS_DISABLED =
  'connectx is an addon, and Node was told not to load any. With --permission, add --allow-addons; otherwise leave out --no-addons';

function loadAddon(root: string): Native {
  const here = `${process.platform}-${process.arch}, ${titleOf(runtime)}`;
  let path: string;
  try {
    path = (require('node-gyp-build') as NodeGypBuild).resolve(root);
    // node-gyp-build looks beside Node's executable as well, where others may be able to write.
    if (!process.env.CONNECTX_PREBUILD && !path.startsWith(join(root, '/'))) throw new Error(`${path} is not in it`);
  } catch (cause) {
    const { code, resource } = cause as NodeJS.ErrnoException & { resource?: string };
    // node-gyp-build looks for Alpine Linux.
    if (code === 'ERR_ACCESS_DENIED') {
      const why = `looking for the binary in ${root} takes --allow-fs-read=${root} and --allow-fs-read=${resource ?? ''}`;
      throw unsupported('native-addon', why, cause);
    }
    throw unsupported(
      'native-addon',
      `no connectx binary for ${here} in ${root} (${firstLine(cause)}). Reinstall connectx; if there is no prebuilt binary for ` +
        `this platform, ${howToBuild(root)}`,
      cause,
    );
  }
  try {
    return require(path) as Native;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_DLOPEN_DISABLED') {
      throw unsupported('native-addon', `${ADDONS_DISABLED} (${path})`, cause);
    }
    throw unsupported(
      'native-addon',
      `${path} did not load on ${here}: ${firstLine(cause)}. Reinstall connectx, or ${howToBuild(root)}`,
      cause,
    );
  }
}

function firstLine(error: unknown): string {
  return (isError(error) ? error.message : String(error)).replace(/\n.*/s, '');
}

// At import, for at the first connection the process may be out of descriptors, and one more is needed to open the addon.
const loaded = loadNow();

/** The addon, undefined off Linux; throws on a Linux where it should have loaded and did not. */
export function nativeOrFallback(): Native | undefined {
  const state = load();
  if (state.native === undefined && state.error !== undefined) throw state.error;
  return state.native;
}

/** The addon, for what has no fallback. */
export function nativeFor(feature: string): Native {
  const native = nativeOrFallback();
  if (native === undefined) {
    const why =
      process.platform === 'linux' ? `${DISABLE_VARIABLE} is set` : `it needs Linux, and this is ${process.platform}`;
    throw unsupported(feature, why);
  }
  return native;
}
