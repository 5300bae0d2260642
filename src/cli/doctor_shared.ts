// The doctor: do two destinations lead to one server, which sees our address, and cannot have our port twice? Such a server (AWS NLB with
// client IP preservation, destination NAT, anycast) does not answer the second SYN.
import type { Check } from './text';
import type { Native } from '../kernel/addon';
import { domainOf, SocketState } from '../kernel/constants';
import { unwrap } from '../kernel/outcome';
import { portUsage, type PortUsage } from '../usage/port_usage';
import { type PortBits, portsIn } from '../values/port_bits';
import { setTimeout } from '../values/timers';

const IPPROTO_TCP = 6;

/** Each takes two looks at the whole table of sockets. */
const MOST_DESTINATIONS = 16;

/** A SYN that was not answered for so long, in ms, was sent again: it is no connect that is just under way. */
const NOT_ANSWERED_MS = 1500;

/** Fewer may be chance. */
const ENOUGH = 4;

/** The local ports towards one destination. */
export interface Towards {
  readonly address: string;
  /** Connects without an answer so far. */
  readonly waiting: readonly number[];
  readonly established: readonly number[];
}

/** Connects that wait on a port which another destination has, where none that was answered is on such a port. */
export interface Fault {
  readonly address: string;
  readonly other: string;
  readonly waiting: number;
}

/**
 * What tells this fault from a server that is down or slow: connects wait on the ports that the other destination has, and those on
 * other ports were answered.
 */
export function faultsAmong(destinations: readonly Towards[]): Fault[] {
  const faults: Fault[] = [];
  const held = destinations.map(({ established }) => new Set(established));
  for (const { address, waiting, established } of destinations) {
    if (waiting.length < ENOUGH || established.length < ENOUGH) continue;
    for (const [index, other] of destinations.entries()) {
      const isTheirs = (port: number): boolean => held[index]?.has(port) === true;
      const shared = waiting.filter(isTheirs).length;
      if (other.address === address || shared < ENOUGH || shared < 0.9 * waiting.length) continue;
      const answered = established.filter(isTheirs).length;
      if (answered <= 0.1 * established.length) faults.push({ address, other: other.address, waiting: shared });
    }
  }
  return faults;
}

/** Destinations with the same source and the same port, by both: only these can be one server. */
function alike(usage: readonly PortUsage[]): PortUsage[][] {
  const groups = new Map<string, PortUsage[]>();
  for (const one of usage) {
    const key = `${one.localAddress} ${one.remotePort}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

export async function sharedPortsChecks(native: Native): Promise<Check[]> {
  const checks: Check[] = [];
  const all = alike(await portUsage({ protocol: 'tcp' }));
  let left = MOST_DESTINATIONS;
  let passed = 0;
  for (const group of all) {
    // The fullest come first: they have the most ports in common.
    const some = left < 2 ? [] : group.slice(0, left);
    left -= some.length;
    passed += group.length - some.length;
    for (const { address, other, waiting } of await lastingFaults(native, some)) {
      const [{ localAddress, remotePort }] = some as [PortUsage];
      const message = `${waiting} connects from ${localAddress} to ${address} port ${remotePort} are not answered; each has the port of a connection to ${other}, and those on other ports were answered: both may be one server that sees your address (a load balancer with client IP preservation, destination NAT)`;
      const remedy =
        'divide the ports: localPortRange: ({ address }) => portSlice({ index, of }), see docs/capacity.md';
      checks.push({ name: 'shared-ports', level: 'finding', message, remedy });
    }
  }
  if (checks.length > 0) return checks;
  const rest = passed === 0 ? '' : ` (of the fullest; ${passed} were not looked at)`;
  const message = `no sign of destinations that are one server, which cannot have the same port twice${rest}`;
  return [{ name: 'shared-ports', level: 'ok', message }];
}

/** What is still so after a while. */
async function lastingFaults(native: Native, group: readonly PortUsage[]): Promise<Fault[]> {
  const first = await allTowards(native, group);
  if (faultsAmong(first).length === 0) return [];
  await new Promise((resolve) => setTimeout(resolve, NOT_ANSWERED_MS));
  const second = await allTowards(native, group);
  return faultsAmong(
    second.map((now, index) => {
      const before = new Set(first[index]?.waiting);
      return { ...now, waiting: now.waiting.filter((port) => before.has(port)) };
    }),
  );
}

/** One after the other: each walks through the whole table. */
async function allTowards(native: Native, group: readonly PortUsage[]): Promise<Towards[]> {
  const all: Towards[] = [];
  for (const one of group) all.push(await towardsOf(native, one));
  return all;
}

async function towardsOf(native: Native, usage: PortUsage): Promise<Towards> {
  const { family, localAddress, remoteAddress, remotePort } = usage;
  const domain = domainOf(family === 'IPv6' ? 6 : 4);
  const inState = async (state: number): Promise<number[]> => {
    const dump = await native.portsInState(IPPROTO_TCP, state, domain, localAddress, remoteAddress, remotePort);
    return portsIn(unwrap<PortBits>(native, dump));
  };
  const waiting = await inState(SocketState.synSent);
  return { address: remoteAddress, waiting, established: await inState(SocketState.established) };
}
