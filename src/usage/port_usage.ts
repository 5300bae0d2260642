// The ports in use, out of the kernel's socket table.
import { parseAddress } from '../values/address';
import { setImmediate } from '../values/timers';
import { badPort, invalidAddress, invalidType, invalidValue } from '../errors/argument_errors';
import type { Native } from '../kernel/addon';
import { nativeFor } from '../kernel/load';
import { unwrap } from '../kernel/outcome';
import { netDenial } from '../kernel/permission';
import { decodeGroups, decodeHolders, groupCount, holderCount, type SocketHolder } from '../kernel/socket_table';
import { assignablePorts } from '../kernel/sysctl';
import { type Assignable, byFullness, merged, type PortUsage, roomBuilder, usageOf } from './usage';

export type { PortUsage };

/** Which of the ports in use; what is absent is not looked at. */
export interface UsageFilter {
  /** Default: both. */
  protocol?: 'tcp' | 'udp' | undefined;
  /** A numeric IP. A zone is not looked at. */
  localAddress?: string | undefined;
  /** A numeric IP. A zone is not looked at. */
  remoteAddress?: string | undefined;
  /** 1 to 65535. */
  remotePort?: number | undefined;
}

/** A filter with nothing unknown in it, the addresses as the kernel takes them. */
export interface CheckedFilter {
  readonly protocols: readonly ('tcp' | 'udp')[];
  readonly local: string | null;
  readonly remote: string | null;
  /** -1: any. */
  readonly port: number;
}

const NUMBERS = { tcp: 6, udp: 17 } as const;
const PROTOCOLS = ['tcp', 'udp'] as const;

function checkedIp(name: string, value: unknown): string | null {
  if (value === undefined) return null;
  if (typeof value !== 'string') throw invalidType(name, 'of type string', value);
  const parsed = parseAddress(value);
  if (parsed === undefined) throw invalidAddress(value);
  return parsed.ip;
}

/** Throws as Node does on a filter that is none. */
export function checkFilter(filter: UsageFilter | undefined): CheckedFilter {
  if (filter === undefined) return { protocols: PROTOCOLS, local: null, remote: null, port: -1 };
  if (typeof filter !== 'object' || (filter as unknown) === null) throw invalidType('filter', 'of type object', filter);
  const { protocol, localAddress, remoteAddress, remotePort } = filter;
  if (protocol !== undefined && !PROTOCOLS.includes(protocol)) {
    throw invalidValue('filter.protocol', protocol, "must be 'tcp' or 'udp'");
  }
  if (remotePort !== undefined) {
    if (typeof remotePort !== 'number') throw invalidType('filter.remotePort', 'of type number', remotePort);
    if (!Number.isInteger(remotePort) || remotePort < 0 || remotePort > 65535) {
      throw badPort('filter.remotePort', remotePort);
    }
  }
  return {
    protocols: protocol === undefined ? PROTOCOLS : [protocol],
    local: checkedIp('filter.localAddress', localAddress),
    remote: checkedIp('filter.remoteAddress', remoteAddress),
    port: remotePort ?? -1,
  };
}

/** As many records as are decoded in one turn of the event loop: well below a millisecond. */
const AT_ONCE = 250;

/** What `decode` makes of records, in turns: the event loop goes on in between. */
async function eachOf<T>(
  count: number,
  decode: (start: number, end: number) => T[],
  use: (one: T) => void,
): Promise<void> {
  for (let start = 0; start < count; start += AT_ONCE) {
    if (start > 0) await new Promise((resolve) => setImmediate(resolve));
    for (const one of decode(start, Math.min(start + AT_ONCE, count))) use(one);
  }
}

/** Each of the sockets that listen, or are bound without a remote end, on a port of this range. */
export async function eachHolder(
  native: Native,
  protocol: 'tcp' | 'udp',
  { low, high }: { readonly low: number; readonly high: number },
  use: (holder: SocketHolder) => void,
): Promise<void> {
  const records = unwrap<Uint8Array>(native, await native.socketHolders(NUMBERS[protocol], low, high));
  await eachOf(holderCount(records), (start, end) => decodeHolders(records, start, end), use);
}

type OnHolder = (protocol: 'tcp' | 'udp', holder: SocketHolder) => void;

async function usageFor(
  native: Native,
  protocol: 'tcp' | 'udp',
  assignable: Assignable,
  { local, remote, port }: CheckedFilter,
  onHolder: OnHolder,
): Promise<PortUsage[]> {
  const builder = roomBuilder(protocol, assignable);
  await eachHolder(native, protocol, assignable.range, (holder) => {
    builder.add(holder);
    onHolder(protocol, holder);
  });
  const room = builder.done();
  const dump = await native.socketGroups(NUMBERS[protocol], local, remote, port, room.ports, room.except);
  const records = unwrap<Uint8Array>(native, dump);
  const usage: PortUsage[] = [];
  let outOfOrder = 0;
  await eachOf(
    groupCount(records),
    (start, end) => decodeGroups(records, start, end),
    (group) => {
      const one = usageOf(protocol, group, room.capacityOf(group.family, group.localAddress));
      const last = usage.at(-1);
      if (last !== undefined && byFullness(last, one) > 0) outOfOrder++;
      usage.push(one);
    },
  );
  // The records come with the most ports first, and mostly all sources have the same capacity.
  return outOfOrder === 0 ? usage : usage.sort(byFullness);
}

/** {@link portUsage} with what has been checked; `onHolder` gets the sockets that hold a port of the range, which are looked at anyway. */
export async function usageNow(
  native: Native,
  filter: CheckedFilter,
  onHolder: OnHolder = () => {},
): Promise<PortUsage[]> {
  const denial = netDenial(native);
  if (denial !== undefined) throw denial;
  const assignable = assignablePorts(native);
  const found = await Promise.all(
    filter.protocols.map((protocol) => usageFor(native, protocol, assignable, filter, onHolder)),
  );
  return merged(found);
}

/**
 * How many ephemeral ports are taken, for each source, destination and destination port, fullest first. All processes of
 * this network namespace count, whatever they connect with; the kernel's table is read off the event loop.
 *
 * Only ports that the kernel assigns count (see `PortUsage.capacity`): not those outside the ephemeral range or reserved,
 * and not connections that a listener inside it has accepted.
 *
 * Rejects with `ERR_CONNECTX_UNSUPPORTED` where the range cannot be read, and with a system error where the kernel does not
 * answer (sock_diag(7) forbidden in a sandbox, `EMFILE`).
 *
 * @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_INVALID_IP_ADDRESS`, `ERR_SOCKET_BAD_PORT` for a bad filter;
 * `ERR_CONNECTX_UNSUPPORTED` off Linux.
 *
 * @example
 * const [fullest] = await portUsage({ protocol: 'tcp', remotePort: 443 });
 * if (fullest !== undefined && fullest.ratio > 0.8) console.warn(`${fullest.remoteAddress} is running out of ports`);
 */
export function portUsage(filter?: UsageFilter): Promise<PortUsage[]> {
  const checked = checkFilter(filter);
  return usageNow(nativeFor('port-usage'), checked);
}
