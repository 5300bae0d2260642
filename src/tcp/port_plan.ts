// Policy: by which technique does a TCP connection get its source port? Plain data in, plain data out.
import { ALL_PORTS, intersect, outside, type PortRange, portsOf } from '../values/port_range';
import type { Kernel } from '../kernel/kernel';
import type { Source } from '../source/options';

/** One way to get a source port. The ways of a plan are tried in order; the next one when every port of this one is taken. */
export type Technique =
  /**
   * The kernel assigns a port at connect(2): `IP_BIND_ADDRESS_NO_PORT`, and `IP_LOCAL_PORT_RANGE` where `range` is given.
   * The port stays free for auto-assignment towards other destinations, which an explicit bind would end.
   */
  | { readonly kind: 'assign'; readonly range: PortRange | undefined }
  /** The same, of this very port, where it lies in the ephemeral range: the addon looks. Elsewhere it is none. */
  | { readonly kind: 'pin'; readonly port: number }
  /** `SO_REUSEADDR` + bind(2) to this port. Takes over a tuple in TIME-WAIT when TCP timestamps are on. */
  | { readonly kind: 'bind'; readonly port: number }
  /**
   * The same, port after port of these ranges, but for those that are reserved, in an order that chance has chosen. `fromOnePort`: in ascending
   * order, always from the same port on, so that few ports are bound explicitly: those that are, the kernel assigns to nobody while anybody
   * is on them.
   */
  | {
      readonly kind: 'search';
      readonly ranges: readonly PortRange[];
      readonly reserved: () => readonly PortRange[];
      readonly fromOnePort: boolean;
    }
  /** The same, with those of these ports whose tuple is in TIME-WAIT. The kernel has to be asked which they are. */
  | { readonly kind: 'take-over'; readonly ports: () => ReadonlySet<number> };

/** A plan is never empty. `pinned`: whether a source address is bound. */
export function planPorts(source: Source, pinned: boolean, kernel: Kernel): readonly Technique[] {
  const plan = planFreePorts(source, pinned, kernel);
  // An explicit bind to one port takes its tuple over by itself.
  return source.reuseTimeWait && source.port === 0 ? [...plan, planTakeOver(source, kernel)] : plan;
}

// A reserved port that is in TIME-WAIT was somebody's choice, and is not ours to take.
function planTakeOver(source: Source, kernel: Kernel): Technique {
  const ports = () => portsOf([source.range ?? kernel.ephemeralRange() ?? DEFAULT_RANGE], kernel.reservedPorts());
  return { kind: 'take-over', ports: () => new Set(ports()) };
}

function planFreePorts(source: Source, pinned: boolean, kernel: Kernel): readonly Technique[] {
  const canAssign = kernel.hasNoPort || !pinned;
  if (source.port !== 0) return planOnePort(source.port, canAssign, kernel);
  if (source.range !== undefined) return planRange(source.range, canAssign, kernel);
  if (!canAssign) return planRange(kernel.ephemeralRange() ?? DEFAULT_RANGE, canAssign, kernel);
  if (!kernel.hasPortRange || !kernel.skipsParity()) return ASSIGN_PLAINLY;
  return kernel.searchesRangesByParity ? planWindows(kernel.ephemeralRange() ?? DEFAULT_RANGE) : ASSIGN_ANY;
}

/** So many ports are searched by parity in some 20 us. */
const WINDOW = 512;
const WINDOWS = 2;

// A part of the range, somewhere in it, then another one, then all of it: up to 98 % occupancy the first one has a port that is free.
function planWindows({ low, high }: PortRange): readonly Technique[] {
  const places = high - low + 2 - WINDOW;
  if (places <= WINDOW * WINDOWS) return ASSIGN_ANY;
  const windows = Array.from({ length: WINDOWS }, (): Technique => {
    const from = low + Math.floor(Math.random() * places);
    return { kind: 'assign', range: { low: from, high: from + WINDOW - 1 } };
  });
  return [...windows, ...ASSIGN_ANY];
}

// The bound is clamped to the sysctl's range, and its presence alone turns off the odd/even scan, which is what makes
// connect(2) slow above 50 % occupancy (inet_sk_get_local_port_range and __inet_hash_connect, Linux 6.8). Below that it would
// only cost a system call, and use up the half of the ports that the kernel keeps for bind(2).
const ASSIGN_ANY: readonly Technique[] = [{ kind: 'assign', range: ALL_PORTS }];
const ASSIGN_PLAINLY: readonly Technique[] = [{ kind: 'assign', range: undefined }];

/** Linux's own default (ip-sysctl.rst), for when /proc cannot be read. */
const DEFAULT_RANGE: PortRange = { low: 32768, high: 60999 };

function planOnePort(port: number, canAssign: boolean, kernel: Kernel): Technique[] {
  const bind: Technique = { kind: 'bind', port };
  return kernel.hasPortRange && canAssign ? [{ kind: 'pin', port }, bind] : [bind];
}

function planRange(range: PortRange, canAssign: boolean, kernel: Kernel): Technique[] {
  const ephemeral = canAssign ? kernel.ephemeralRange() : undefined;
  const search = (ranges: PortRange[]): Technique => ({
    kind: 'search',
    ranges,
    reserved: () => kernel.reservedPorts(),
    fromOnePort: !kernel.hasPortRange,
  });
  const assigned = ephemeral && intersect(range, ephemeral);
  if (ephemeral === undefined || assigned === undefined) return [search([range])];
  // Without the option the kernel can still assign, if it cannot assign anything outside of what was asked for.
  const whole = assigned.low === ephemeral.low && assigned.high === ephemeral.high;
  if (!kernel.hasPortRange && !whole) return [search([range])];
  const rest = outside(range, ephemeral);
  const assign: Technique = { kind: 'assign', range: kernel.hasPortRange ? assigned : undefined };
  return rest.length === 0 ? [assign] : [assign, search(rest)];
}

/** Where among these ports, in ascending order, the first one is that is not before `port`; 0 where there is none. */
export function placeOf(ports: ArrayLike<number>, port: number): number {
  for (let place = 0; place < ports.length; place++) if ((ports[place] as number) >= port) return place;
  return 0;
}

/** Whether the kernel was to choose, here in the plan for the last time, and something else follows. */
export function isLastToAssign(plan: readonly Technique[], at: number): boolean {
  const next = plan[at + 1];
  return plan[at]?.kind === 'assign' && next !== undefined && next.kind !== 'assign';
}

/** Whether the kernel is to choose any port, and searches by parity. */
export function searchesByParity(technique: Technique): boolean {
  return technique.kind === 'assign' && technique.range === undefined;
}
