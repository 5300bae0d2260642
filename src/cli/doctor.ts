// What stands in the way of many outgoing connections on this machine, with remedies.
import { capabilities } from '../kernel/capabilities';
import { type Check, endpoint } from './text';
import { conflictsWithin, type ListenerConflict } from '../usage/conflicts';
import type { Native } from '../kernel/addon';
import { kernelOf } from '../kernel/kernel';
import { nativeOrFallback } from '../kernel/load';
import { udpSharingOf } from '../kernel/sock_diag';
import { portUsage } from '../usage/port_usage';
import { formatRange, type PortRange, portsOf } from '../values/port_range';
import { assignablePorts, sysctl } from '../kernel/sysctl';

/** Linux's default range has 28,232 ports; with less than this something has been taken away. */
const FEW_PORTS = 16_384;
const FULL = 0.8;

function rangeChecks(native: Native, asked: PortRange | undefined): Check[] {
  const { range, reserved } = assignablePorts(native);
  const shown = asked ?? range;
  const count = portsOf([shown], reserved).length;
  const message = `ports ${formatRange(shown)}: ${count} to assign, reserved: ${reserved.map(formatRange).join(',') || 'none'}`;
  if (count >= FEW_PORTS) return [{ name: 'range', level: 'ok', message }];
  const remedy = 'sysctl -w net.ipv4.ip_local_port_range="32768 60999" (or wider: see doctor --range 1024-65000)';
  return [{ name: 'range', level: 'finding', message: `${message}; that is few`, remedy }];
}

function ownerOf({ processes, processesComplete, uid }: ListenerConflict): string {
  if (processes.length > 0) return processes.map(({ name, pid }) => `${name} (${pid})`).join(', ');
  return processesComplete ? `no process (user ${uid})` : `a process of user ${uid} whose name is not ours to see`;
}

async function conflictChecks(range: PortRange | undefined): Promise<Check[]> {
  const conflicts = await conflictsWithin(range);
  if (conflicts.length === 0) return [{ name: 'conflicts', level: 'ok', message: 'no listener inside the range' }];
  return conflicts.map((conflict, index) => {
    const { protocol, localAddress, localPort } = conflict;
    const what = protocol === 'tcp' ? 'listens' : 'is bound';
    const message = `${protocol} ${endpoint(conflict, localAddress, localPort)}: ${ownerOf(conflict)} ${what} inside the range; an outgoing connection may take the port first`;
    const isLast = index === conflicts.length - 1;
    return { name: 'conflicts', level: 'finding', message, remedy: isLast ? conflict.remedy : undefined };
  });
}

function timeWaitChecks(native: Native): Check[] {
  const reuse = sysctl(native, 'tcp_tw_reuse');
  const timestamps = sysctl(native, 'tcp_timestamps');
  const checks: Check[] = [];
  if (reuse === '0') {
    const message = 'tcp_tw_reuse is 0: a tuple in TIME-WAIT is lost for 60 seconds';
    checks.push({ name: 'tcp_tw_reuse', level: 'finding', message, remedy: 'sysctl -w net.ipv4.tcp_tw_reuse=1' });
  } else if (reuse === '2') {
    const message = 'tcp_tw_reuse is 2, the default: tuples in TIME-WAIT are used again on loopback only';
    checks.push({ name: 'tcp_tw_reuse', level: 'note', message });
  } else {
    checks.push({
      name: 'tcp_tw_reuse',
      level: reuse === '1' ? 'ok' : 'note',
      message: `tcp_tw_reuse is ${reuse ?? 'not to be read'}`,
    });
  }
  if (timestamps === '0') {
    const message = 'tcp_timestamps is 0: no tuple in TIME-WAIT can be taken over';
    checks.push({ name: 'tcp_timestamps', level: 'finding', message, remedy: 'sysctl -w net.ipv4.tcp_timestamps=1' });
  } else {
    checks.push({
      name: 'tcp_timestamps',
      level: 'ok',
      message: `tcp_timestamps is ${timestamps ?? 'not to be read'}`,
    });
  }
  return checks;
}

// The kernel's own, whatever the runtime makes of it.
function kernelChecks(native: Native): Check[] {
  const kernel = kernelOf(native);
  const { hasNoPort, hasPortRange } = kernel;
  const udpShared = udpSharingOf(native).works;
  const check = (name: string, has: boolean, level: 'note' | 'finding', without: string): Check =>
    has ? { name, level: 'ok', message: `${name}: yes` } : { name, level, message: `${name}: no; ${without}` };
  return [
    check('IP_BIND_ADDRESS_NO_PORT', hasNoPort, 'finding', 'a pinned source cannot share its ports (Linux 4.2)'),
    check('IP_LOCAL_PORT_RANGE', hasPortRange, 'note', 'connects slow down above 50 % (Linux 6.3)'),
    check(
      'bound ports return',
      kernel.returnsPorts(),
      'note',
      'a port that was bound explicitly is not assigned again until every socket on it is gone (Linux 6.18): take localPort outside of the range',
    ),
    check('shared UDP ports', udpShared, 'finding', 'a UDP port serves one destination at a time'),
  ];
}

async function usageChecks(): Promise<Check[]> {
  const full = (await portUsage()).filter(({ ratio }) => ratio >= FULL);
  if (full.length === 0)
    return [{ name: 'usage', level: 'ok', message: 'no destination has 80 % of the ports in use' }];
  return full.map(({ protocol, localAddress, remoteAddress, remotePort, used, capacity, timeWait }) => ({
    name: 'usage',
    level: 'finding',
    message: `${protocol} ${localAddress} to ${remoteAddress} port ${remotePort}: ${used} of ${capacity} ports in use, ${timeWait} of them in TIME-WAIT`,
    remedy:
      timeWait * 2 > used
        ? 'keep connections alive, or sysctl -w net.ipv4.tcp_tw_reuse=1'
        : 'add source addresses, or widen net.ipv4.ip_local_port_range',
  }));
}

/** All checks; with a range, as if that were the ephemeral one. */
export async function examine(range: PortRange | undefined): Promise<Check[]> {
  let native: Native | undefined;
  try {
    native = nativeOrFallback();
  } catch (error) {
    return [{ name: 'addon', level: 'finding', message: (error as Error).message }];
  }
  if (native === undefined) return [{ name: 'addon', level: 'finding', message: 'no addon: this is not Linux' }];
  const checks: Check[] = [...rangeChecks(native, range), ...timeWaitChecks(native), ...kernelChecks(native)];
  if (!capabilities().portUsage) {
    const message = 'the kernel does not answer over sock_diag: nothing can be said of ports in use and of listeners';
    return [
      ...checks,
      { name: 'sock_diag', level: 'finding', message, remedy: 'let the sandbox allow AF_NETLINK sockets' },
    ];
  }
  checks.push({ name: 'sock_diag', level: 'ok', message: 'sock_diag: the kernel answers' });
  checks.push(...(await conflictChecks(range)), ...(range === undefined ? await usageChecks() : []));
  return checks;
}
