// A slice of work, measured in the process that does it.

/** `act` does `count` of something: how many a second, the CPU time for each in microseconds, and how much of the time that was. */
export async function measure(count, act) {
  // What the slice before left behind is not this one's to collect.
  globalThis.gc({ type: 'minor' });
  const before = process.cpuUsage();
  const start = performance.now();
  await act();
  const us = (performance.now() - start) * 1000;
  const { user, system } = process.cpuUsage(before);
  return { rate: (count / us) * 1e6, cpu: (user + system) / count, busy: (user + system) / us };
}

/** The client never waits for anything but the processor, so when it did not have that, something else had. */
export const undisturbed = ({ busy }) => busy > 0.97;
