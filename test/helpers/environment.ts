// Environments for programs that tests start.

/**
 * For one that has no part in what is tested: without the sanitizers that may be preloaded for the addon. They would report, or stop at,
 * mistakes of its own.
 */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const { LD_PRELOAD: _, ...env } = process.env;
  return env;
}

/** The variables with which a library comes before all others. Where a sanitizer is preloaded, its functions come after those of the library. */
export function preloading(library: string): NodeJS.ProcessEnv {
  const { LD_PRELOAD: others, ASAN_OPTIONS: options = '' } = process.env;
  return {
    LD_PRELOAD: [library, others].filter(Boolean).join(':'),
    ASAN_OPTIONS: `${options}:verify_asan_link_order=0`,
  };
}
