// What the kernel says of itself below /proc. The command line runs on the main thread, whose network namespace answers.
import { readFileSync } from 'node:fs';

/** The text of such a file, without the white space around it; undefined when it cannot be read. */
export function kernelFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    // What that means depends on the file: another kernel, a module that is not loaded, a sandbox. The caller says so.
    return undefined;
  }
}

/** As {@link kernelFile}; tests have files of their own. */
export type Read = (path: string) => string | undefined;

/** The numbers in it, `undefined` when it cannot be read or has others. */
export function kernelNumbers(path: string, read: Read = kernelFile): number[] | undefined {
  const text = read(path);
  return text !== undefined && /^\d+(\s+\d+)*$/.test(text) ? text.split(/\s+/).map(Number) : undefined;
}

export function kernelNumber(path: string, read: Read = kernelFile): number | undefined {
  return kernelNumbers(path, read)?.[0];
}

/** `net.ipv4.NAME`. */
export const ipv4 = (name: string): string => `/proc/sys/net/ipv4/${name}`;

/** The counters of /proc/net/snmp that begin with `Tcp:`, by name; none when it cannot be read. */
export function tcpCounters(): ReadonlyMap<string, number> {
  const [names = '', values = ''] = (kernelFile('/proc/net/snmp') ?? '')
    .split('\n')
    .filter((line) => /^Tcp:/.test(line));
  const numbers = values.split(' ').map(Number);
  return new Map(
    names
      .split(' ')
      .map((name, index) => [name, numbers[index] ?? NaN] as const)
      .slice(1),
  );
}

/** A number of /proc/net/sockstat, such as `UDP` `mem`. */
export function socketStatistic(protocol: string, what: string, read: Read = kernelFile): number | undefined {
  const line = read('/proc/net/sockstat')
    ?.split('\n')
    .find((one) => one.startsWith(`${protocol}:`));
  const [, value] = new RegExp(` ${what} (\\d+)`).exec(line ?? '') ?? [];
  return value === undefined ? undefined : Number(value);
}
