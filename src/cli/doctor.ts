// What stands in the way of many outgoing connections on this machine, with remedies.
import { featureChecks, loadBalancingChecks, releaseChecks, vrfChecks } from './doctor_kernel';
import { conntrackChecks, descriptorChecks, stepWidthChecks, timeWaitChecks, udpMemoryCheck } from './doctor_limits';
import { sharedPortsChecks } from './doctor_shared';
import { assignableIn } from './kernel_metrics';
import { lastingOf, sysctlRemedy } from './remedy';
import { type Check, endpoint } from './text';
import type { Native } from '../kernel/addon';
import { capabilities } from '../kernel/capabilities';
import { nativeFor } from '../kernel/load';
import { assignablePorts } from '../kernel/sysctl';
import { conflictsWithin, type ListenerConflict } from '../usage/conflicts';
import { portUsage } from '../usage/port_usage';
import { type Assignable, reserveCommand, reserving } from '../usage/usage';
import { formatRange, intersect, type PortRange } from '../values/port_range';

/** Linux's default range has 28,232 ports; with less than this something has been taken away. */
const FEW_PORTS = 16_384;
const FULL = 0.8;
const NODE_PORTS: PortRange = { low: 30000, high: 32767 };

export interface Asked {
  /** As if this were the ephemeral range. */
  readonly range: PortRange | undefined;
  /** To be reserved although nobody listens there. */
  readonly reserve: PortRange | undefined;
}

function rangeCheck(assignable: Assignable): Check {
  const { range, reserved } = assignable;
  const count = assignableIn(assignable, range);
  const message = `ports ${formatRange(range)}: ${count} to assign, reserved: ${reserved.map(formatRange).join(',') || 'none'}`;
  if (count >= FEW_PORTS) return { name: 'range', level: 'ok', message };
  const remedy = sysctlRemedy('net.ipv4.ip_local_port_range', '32768 60999');
  const wider = `${remedy.remedy} (or wider: see doctor --range 1024-65000)`;
  return { name: 'range', level: 'finding', message: `${message}; that is few`, ...remedy, remedy: wider };
}

/** NodePorts have no listening socket: kube-proxy opens none, so that no look at sockets finds them. */
function reserveChecks(assignable: Assignable, reserve: PortRange | undefined): Check[] {
  if (reserve !== undefined) {
    const missing = assignableIn(assignable, reserve);
    const which = formatRange(reserve);
    if (missing === 0)
      return [{ name: 'reserve', level: 'ok', message: `the kernel gives none of ${which} to connections` }];
    const remedy = reserveCommand(reserving([...assignable.reserved, reserve], []));
    const message = `${missing} of the ports ${which} are in the range and not reserved; an outgoing connection may take them`;
    return [{ name: 'reserve', level: 'finding', message, remedy, lasting: lastingOf(remedy) }];
  }
  if (intersect(assignable.range, NODE_PORTS) === undefined || assignableIn(assignable, NODE_PORTS) === 0) return [];
  const which = formatRange(NODE_PORTS);
  const message = `NodePorts of Kubernetes (${which}) have no listening socket, and cannot be seen here`;
  return [{ name: 'reserve', level: 'note', message, remedy: `on a node: connectx doctor --reserve ${which}` }];
}

function ownerOf({ processes, processesComplete, uid }: ListenerConflict): string {
  if (processes.length > 0) return processes.map(({ name, pid }) => `${name} (${pid})`).join(', ');
  return processesComplete ? `no process (user ${uid})` : `a process of user ${uid} whose name is not ours to see`;
}

async function conflictChecks({ range, reserve }: Asked): Promise<Check[]> {
  const conflicts = await conflictsWithin(range, reserve === undefined ? [] : [reserve]);
  if (conflicts.length === 0) return [{ name: 'conflicts', level: 'ok', message: 'no listener inside the range' }];
  return conflicts.map((conflict, index) => {
    const { protocol, localAddress, localPort, remedy } = conflict;
    const what = protocol === 'tcp' ? 'listens' : 'is bound';
    const message = `${protocol} ${endpoint(conflict, localAddress, localPort)}: ${ownerOf(conflict)} ${what} inside the range; an outgoing connection may take the port first`;
    const isLast = index === conflicts.length - 1;
    return { name: 'conflicts', level: 'finding', message, ...(isLast && { remedy, lasting: lastingOf(remedy) }) };
  });
}

async function usageChecks(): Promise<Check[]> {
  const full = (await portUsage()).filter(({ ratio }) => ratio >= FULL);
  if (full.length === 0)
    return [{ name: 'usage', level: 'ok', message: 'no destination has 80 % of the ports in use' }];
  return full.map(({ protocol, localAddress, remoteAddress, remotePort, used, capacity, timeWait }) => {
    const isWaiting = timeWait * 2 > used;
    const reuse = sysctlRemedy('net.ipv4.tcp_tw_reuse', 1);
    return {
      name: 'usage',
      level: 'finding',
      message: `${protocol} ${localAddress} to ${remoteAddress} port ${remotePort}: ${used} of ${capacity} ports in use, ${timeWait} of them in TIME-WAIT`,
      remedy: isWaiting
        ? `keep connections alive, or ${reuse.remedy}`
        : 'add source addresses, or widen net.ipv4.ip_local_port_range',
      lasting: isWaiting ? reuse.lasting : undefined,
    };
  });
}

/** What cannot be looked at is a finding, and the rest goes on. */
async function orFinding(name: string, look: () => Check[] | Promise<Check[]>): Promise<Check[]> {
  try {
    return await look();
  } catch (error) {
    return [{ name, level: 'finding', message: (error as Error).message }];
  }
}

/** What only the addon can find out. */
async function nativeChecks(native: Native, asked: Asked): Promise<Check[]> {
  const checks = await orFinding('features', () => featureChecks(native));
  if (!capabilities().portUsage) {
    const message = 'the kernel does not answer over sock_diag: nothing can be said of ports in use and of listeners';
    return [
      ...checks,
      { name: 'sock_diag', level: 'finding', message, remedy: 'let the sandbox allow AF_NETLINK sockets' },
    ];
  }
  checks.push({ name: 'sock_diag', level: 'ok', message: 'sock_diag: the kernel answers' });
  checks.push(...(await orFinding('conflicts', () => conflictChecks(asked))));
  if (asked.range === undefined) {
    checks.push(...(await orFinding('usage', usageChecks)));
    checks.push(...(await orFinding('shared-ports', () => sharedPortsChecks(native))));
  }
  return checks;
}

/** All checks; with a range, as if that were the ephemeral one. */
export async function examine(asked: Asked): Promise<Check[]> {
  const checks: Check[] = [];
  let native: Native | undefined;
  let ports = FEW_PORTS;
  checks.push(
    ...(await orFinding('addon', () => {
      native = nativeFor('connectx doctor');
      return [];
    })),
  );
  if (native !== undefined) {
    const found = native;
    checks.push(
      ...(await orFinding('range', () => {
        const now = assignablePorts(found);
        const assignable = { range: asked.range ?? now.range, reserved: now.reserved };
        ports = assignableIn(assignable, assignable.range);
        return [rangeCheck(assignable), ...reserveChecks(assignable, asked.reserve)];
      })),
    );
  }
  checks.push(...timeWaitChecks(), ...stepWidthChecks());
  checks.push(...descriptorChecks(ports), ...conntrackChecks(ports), udpMemoryCheck());
  checks.push(...releaseChecks(), ...vrfChecks(native), ...loadBalancingChecks(native));
  if (native !== undefined) checks.push(...(await nativeChecks(native, asked)));
  return checks;
}
