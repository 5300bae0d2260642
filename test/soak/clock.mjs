// One clock for all processes of a machine (CLOCK_MONOTONIC), in microseconds.

export function now() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + nanoseconds / 1e3;
}
