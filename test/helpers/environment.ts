// The environment for programs that have no part in what is tested.

/** Without the sanitizers that may be preloaded for the addon: they would report, or stop at, mistakes of those programs' own. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const { LD_PRELOAD: _, ...env } = process.env;
  return env;
}
