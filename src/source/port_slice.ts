// Equal slices of a port range, for machines, containers and processes that share an address without talking to each other.
import { invalidType, outOfRange } from '../errors/argument_errors';
import { assignablePorts } from '../kernel/sysctl';
import { nativeFor } from '../kernel/load';
import { readRange } from './range_option';

/** Options of {@link portSlice}. */
export interface PortSliceOptions {
  /** Which slice: 0 to `of - 1`. */
  index: number;
  /** How many slices there are: 1 to the number of ports in `range`. */
  of: number;
  /** The ports to divide, both ends inclusive. Default: the ephemeral range (`net.ipv4.ip_local_port_range`) as of now. */
  range?: readonly [low: number, high: number] | undefined;
}

/**
 * One of `of` equal slices of a port range, for `ports` of a pool's member and for `localPortRange`. Ports that are left over at the end of
 * the range belong to no slice. Hosts that share an address give `range` themselves, so that all of them divide the same one.
 *
 * @returns both ends, inclusive
 * @throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, ERR_OUT_OF_RANGE; without `range` also a {@link ConnectxError}
 *   ERR_CONNECTX_UNSUPPORTED off Linux, or the error of reading the ephemeral range
 * @example
 * const ports = portSlice({ index: 3, of: 31, range: [2048, 65535] }); // [8192, 10239]
 * const pool = new SourcePool([{ address: '192.0.2.7', ports }]);
 */
export function portSlice(options: PortSliceOptions): [low: number, high: number] {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw invalidType('options', 'of type object', options);
  }
  const { index, of, range: given } = options;
  for (const [name, value] of Object.entries({ index, of })) {
    if (typeof value !== 'number') throw invalidType(`options.${name}`, 'of type number', value);
  }
  const range = readRange('options.range', given) ?? assignablePorts(nativeFor('portSlice()')).range;
  const count = range.high - range.low + 1;
  if (!Number.isInteger(of) || of < 1 || of > count) {
    throw outOfRange('options.of', `an integer >= 1 && <= ${count}, the number of ports`, of);
  }
  if (!Number.isInteger(index) || index < 0 || index >= of) {
    throw outOfRange('options.index', `an integer >= 0 && < ${of}`, index);
  }
  const size = Math.floor(count / of);
  const low = range.low + index * size;
  return [low, low + size - 1];
}
