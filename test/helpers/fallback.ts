// The package as it is off Linux, without its addon, beside the one with it.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as connectx from 'connectx';
import type * as connectxSys from 'connectx/sys';

/** What is exported. */
export type Package = typeof connectx & { sys: typeof connectxSys };

/** The environment variable that leaves the addon out. */
export const DISABLE = 'CONNECTX_DISABLE_NATIVE';

/** The package, loaded anew, as it is with this in the environment. */
export function load(disable: string | undefined): Package {
  const require = createRequire(import.meta.url);
  const entries = [require.resolve('connectx'), require.resolve('connectx/sys')] as const;
  const folder = join(entries[0], '..');
  const before = process.env[DISABLE];
  const forget = () => {
    for (const path of Object.keys(require.cache))
      if (path.startsWith(folder)) Reflect.deleteProperty(require.cache, path);
  };
  forget();
  try {
    if (disable === undefined) Reflect.deleteProperty(process.env, DISABLE);
    else process.env[DISABLE] = disable;
    return { ...(require(entries[0]) as typeof connectx), sys: require(entries[1]) as typeof connectxSys };
  } finally {
    forget();
    if (before === undefined) Reflect.deleteProperty(process.env, DISABLE);
    else process.env[DISABLE] = before;
  }
}
