// The doctor: limits that many connections meet beside the ports. Each is read where the kernel tells it, and no addon is needed.
import { ipv4, kernelFile, kernelNumber, kernelNumbers, type Read, socketStatistic } from './kernel_files';
import { sysctlRemedy } from './remedy';
import type { Check } from './text';

/** A limit is near when so much of it is in use. */
const NEAR = 0.8;
const PLENTY = 1_048_576;
/** Entries of the hash table for each bucket, above which looking one up is slow. */
const LONG_CHAINS = 8;

const unread = (name: string, what: string): Check => ({
  name,
  level: 'finding',
  message: `${what} cannot be read`,
  remedy: 'mount /proc, or let the sandbox read it',
});

/** `ports`: as many connections as one destination may have. */
export function descriptorChecks(ports: number, read: Read = kernelFile): Check[] {
  // Node has raised its soft limit to the hard one; so does every program that runs on it.
  const [, most] = /^Max open files +\S+ +(\d+|unlimited)/m.exec(read('/proc/self/limits') ?? '') ?? [];
  const [open, , machine] = kernelNumbers('/proc/sys/fs/file-nr', read) ?? [];
  const checks: Check[] = [];
  if (most === undefined) checks.push(unread('descriptors', '/proc/self/limits'));
  else if (most !== 'unlimited' && Number(most) <= ports) {
    checks.push({
      name: 'descriptors',
      // The program that this is about may be started with other limits.
      level: 'note',
      message: `a process started here may have ${most} descriptors (ulimit -Hn), fewer than ports to one destination: ${ports}`,
      remedy: `ulimit -n ${PLENTY}, as root, in the shell that starts the program`,
      lasting: `LimitNOFILE=${PLENTY} in its systemd unit`,
    });
  } else
    checks.push({ name: 'descriptors', level: 'ok', message: `a process started here may have ${most} descriptors` });
  if (open === undefined || machine === undefined) checks.push(unread('file-max', '/proc/sys/fs/file-nr'));
  else if (open >= NEAR * machine) {
    const message = `${open} of ${machine} descriptors of the machine are open`;
    checks.push({ name: 'file-max', level: 'finding', message, ...sysctlRemedy('fs.file-max', 2 * machine) });
  } else
    checks.push({
      name: 'file-max',
      level: 'ok',
      message: `${open} of ${machine} descriptors of the machine are open`,
    });
  return checks;
}

export function conntrackChecks(ports: number, read: Read = kernelFile): Check[] {
  const value = (name: string) => kernelNumber(`/proc/sys/net/netfilter/nf_conntrack_${name}`, read);
  const [count, most, buckets] = [value('count'), value('max'), value('buckets')];
  if (count === undefined || most === undefined) {
    return [{ name: 'conntrack', level: 'ok', message: 'connections are not tracked here' }];
  }
  const message = `${count} of ${most} tracked connections`;
  const checks: Check[] = [];
  const more = sysctlRemedy('net.netfilter.nf_conntrack_max', 2 * Math.max(most, ports));
  if (count >= NEAR * most) {
    checks.push({
      name: 'conntrack',
      level: 'finding',
      message: `${message}: beyond them packets are dropped`,
      ...more,
    });
  } else if (most <= ports) {
    const few = `${message}, fewer than ports to one destination (${ports})`;
    checks.push({ name: 'conntrack', level: 'note', message: few, ...more });
  } else checks.push({ name: 'conntrack', level: 'ok', message });
  if (buckets !== undefined && most > LONG_CHAINS * buckets) {
    const size = Math.ceil(most / 4);
    checks.push({
      name: 'conntrack-hash',
      level: 'finding',
      message: `${buckets} hash buckets for ${most} tracked connections: looking one up is slow when there are many`,
      remedy: `echo ${size} > /sys/module/nf_conntrack/parameters/hashsize`,
      lasting: `echo 'options nf_conntrack hashsize=${size}' > /etc/modprobe.d/90-connectx.conf`,
    });
  }
  return checks;
}

export function udpMemoryCheck(read: Read = kernelFile): Check {
  const [, pressure, most] = kernelNumbers(ipv4('udp_mem'), read) ?? [];
  const used = socketStatistic('UDP', 'mem', read);
  if (pressure === undefined || most === undefined || used === undefined) {
    // The first network namespace has it, and no other.
    const isOther = read(ipv4('ip_local_port_range')) !== undefined;
    const message = 'udp_mem is of the whole machine, and is not to be seen in this network namespace';
    return isOther ? { name: 'udp_mem', level: 'note', message } : unread('udp_mem', ipv4('udp_mem'));
  }
  const message = `udp_mem: ${used} of ${most} pages in use`;
  if (used < NEAR * most) return { name: 'udp_mem', level: 'ok', message };
  return {
    name: 'udp_mem',
    level: 'finding',
    message: `${message}; beyond them datagrams are dropped`,
    ...sysctlRemedy('net.ipv4.udp_mem', `${2 * most} ${3 * most} ${4 * most}`),
  };
}

export function timeWaitChecks(read: Read = kernelFile): Check[] {
  const reuse = read(ipv4('tcp_tw_reuse'));
  const timestamps = read(ipv4('tcp_timestamps'));
  const delay = kernelNumber(ipv4('tcp_tw_reuse_delay'), read);
  const buckets = kernelNumber(ipv4('tcp_max_tw_buckets'), read);
  const waiting = socketStatistic('TCP', 'tw', read);
  const checks: Check[] = [];
  if (reuse === undefined) checks.push(unread('tcp_tw_reuse', ipv4('tcp_tw_reuse')));
  else if (reuse === '0') {
    const message = 'tcp_tw_reuse is 0: a tuple in TIME-WAIT is lost for 60 seconds';
    checks.push({ name: 'tcp_tw_reuse', level: 'finding', message, ...sysctlRemedy('net.ipv4.tcp_tw_reuse', 1) });
  } else if (reuse === '1') checks.push({ name: 'tcp_tw_reuse', level: 'ok', message: 'tcp_tw_reuse is 1' });
  else {
    const message = `tcp_tw_reuse is ${reuse}: tuples in TIME-WAIT are used again on loopback only`;
    checks.push({ name: 'tcp_tw_reuse', level: 'note', message, ...sysctlRemedy('net.ipv4.tcp_tw_reuse', 1) });
  }
  if (timestamps === undefined) checks.push(unread('tcp_timestamps', ipv4('tcp_timestamps')));
  else if (timestamps === '0') {
    const message = 'tcp_timestamps is 0: no tuple in TIME-WAIT can be taken over';
    checks.push({ name: 'tcp_timestamps', level: 'finding', message, ...sysctlRemedy('net.ipv4.tcp_timestamps', 1) });
  } else checks.push({ name: 'tcp_timestamps', level: 'ok', message: `tcp_timestamps is ${timestamps}` });
  if (delay !== undefined) {
    const message = `tcp_tw_reuse_delay: a tuple in TIME-WAIT rests for ${delay} ms before the kernel uses it again`;
    const isLong = delay > 1000;
    const remedy = isLong ? sysctlRemedy('net.ipv4.tcp_tw_reuse_delay', 1000) : {};
    checks.push({ name: 'tcp_tw_reuse_delay', level: isLong ? 'note' : 'ok', message, ...remedy });
  }
  if (buckets !== undefined && waiting !== undefined && waiting >= NEAR * buckets) {
    const message = `${waiting} of ${buckets} sockets in TIME-WAIT: beyond them they are dropped at once, and late segments meet new connections`;
    checks.push({
      name: 'tcp_max_tw_buckets',
      level: 'note',
      message,
      ...sysctlRemedy('net.ipv4.tcp_max_tw_buckets', 2 * buckets),
    });
  }
  return checks;
}

/** Only newer kernels have it. */
export function stepWidthChecks(read: Read = kernelFile): Check[] {
  const step = kernelNumber(ipv4('ip_local_port_step_width'), read);
  if (step === undefined) return [];
  const message = `ip_local_port_step_width is ${step}`;
  if (step === 0)
    return [{ name: 'ip_local_port_step_width', level: 'ok', message: `${message}: ports are tried one by one` }];
  return [
    {
      name: 'ip_local_port_step_width',
      level: 'ok',
      message: `${message}: plain connects leave gaps that they find faster when the range is nearly full`,
    },
  ];
}
