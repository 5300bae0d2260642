// `localPortRange` and the slices of a pool: ranges of source ports as a user writes them, checked.
import { canonicalAddress, type Destination } from '../values/address';
import { invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import type { PortRange } from '../values/port_range';

/**
 * Chooses the range of the source port. It is asked for each source address that is tried towards a destination; `localAddress` is
 * undefined where the kernel chooses the address. Undefined: any port.
 */
export type PortRangeFunction = (
  destination: Destination,
  localAddress: string | undefined,
) => readonly [low: number, high: number] | undefined;

/** @throws one of Node's argument errors */
export function readRange(name: string, value: unknown): PortRange | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw invalidType(name, 'an instance of Array', value);
  const [low, high] = value as unknown[];
  if (value.length !== 2 || typeof low !== 'number' || typeof high !== 'number') {
    throw invalidValue(name, value, 'must be [low, high]');
  }
  for (const port of [low, high]) {
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw outOfRange(name, '>= 1 && <= 65535', port);
  }
  if (low > high) throw invalidValue(name, value, 'must have low <= high');
  return { low, high };
}

/**
 * The range that a function of the user's gives.
 *
 * @throws whatever it throws, and one of Node's argument errors for an answer that is no range
 */
export function askRange(
  choose: PortRangeFunction,
  destination: Destination,
  local: string | null,
): PortRange | undefined {
  const localAddress = local === null ? undefined : canonicalAddress(local);
  return readRange('localPortRange()', choose({ ...destination }, localAddress));
}
