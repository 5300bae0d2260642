// What the kernel says of its memory and of that of processes.
import { existsSync, readFileSync } from 'node:fs';

const read = (path) => readFileSync(path, 'utf8');

/** `Name: 123 kB` lines as bytes. */
export function parseKilobytes(text) {
  return Object.fromEntries([...text.matchAll(/^([\w()]+):\s+(\d+) kB$/gm)].map(([, name, kb]) => [name, kb * 1024]));
}

/** Bytes of each slab cache: pages that it holds, not only those of objects in use. */
export function parseSlabs(text, pageSize = 4096) {
  const slabs = {};
  for (const line of text.split('\n').slice(2)) {
    const [figures, , slabdata] = line.split(' : ');
    if (slabdata === undefined) continue;
    const [name, , , , , pages] = figures.split(/\s+/);
    const [, , count] = slabdata.trim().split(/\s+/);
    slabs[name] = count * pages * pageSize;
  }
  return slabs;
}

export const available = () => parseKilobytes(read('/proc/meminfo')).MemAvailable;

/** Null for what only root may read. */
function slabs() {
  try {
    return parseSlabs(read('/proc/slabinfo'));
  } catch (error) {
    if (error.code === 'EACCES' || error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Proportional (what is shared is divided by how many share it) and resident memory of these processes, in bytes. */
function processes(pids) {
  let pss = 0;
  let rss = 0;
  for (const pid of pids) {
    const rollup = parseKilobytes(read(`/proc/${pid}/smaps_rollup`));
    pss += rollup.Pss;
    rss += rollup.Rss;
  }
  return { processes: pids.length, pss, rss };
}

/** All of it, at this moment; the namespace's `sockstat` as it is. */
export function takeStock({ clients, servers }) {
  const { MemAvailable, SReclaimable, SUnreclaim, Slab } = parseKilobytes(read('/proc/meminfo'));
  return {
    available: MemAvailable,
    slab: Slab,
    slabReclaimable: SReclaimable,
    slabUnreclaimable: SUnreclaim,
    slabs: slabs(),
    clients: processes(clients),
    servers: processes(servers),
    sockstat: read('/proc/net/sockstat').trim().split('\n'),
  };
}

/** By how much each cache has changed between two stocks, the largest growth first: [[name, bytes]]. Null where only root may know. */
export function grownSlabs(before, after) {
  if (before.slabs === null || after.slabs === null) return null;
  return Object.entries(after.slabs)
    .map(([name, bytes]) => [name, bytes - (before.slabs[name] ?? 0)])
    .filter(([, bytes]) => bytes !== 0)
    .sort(([, a], [, b]) => b - a);
}

/** Seconds of processor time of these processes, and of the whole machine, since they and it began. */
export function processorTime(pids) {
  const ticks = (text) => text.slice(text.lastIndexOf(')') + 2).split(' ');
  let user = 0;
  let system = 0;
  for (const pid of pids) {
    const fields = ticks(read(`/proc/${pid}/stat`));
    user += fields[11] / 100;
    system += fields[12] / 100;
  }
  const [, ...all] = read('/proc/stat').split('\n', 1)[0].split(/\s+/).map(Number);
  const idle = all[3] + all[4];
  // Guest time is in user time already.
  const total = all.slice(0, 8).reduce((sum, value) => sum + value, 0);
  return { user, system, busy: (total - idle) / 100, total: total / 100 };
}

/** `Udp` and `Tcp` lines of /proc/net/snmp as one object each. */
export function parseSnmp(text) {
  const tables = {};
  const lines = text.trim().split('\n');
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const [name, ...heads] = lines[at].split(/:? /);
    const [, ...values] = lines[at + 1].split(/:? /);
    tables[name] = Object.fromEntries(heads.map((head, index) => [head, Number(values[index])]));
  }
  return tables;
}

/** The datagrams of this namespace, all of which are from here and to here: `lost` is what no other counter has. */
export function datagrams(family) {
  const {
    OutDatagrams: sent,
    InDatagrams: received,
    InErrors: errors,
    NoPorts: strays,
    RcvbufErrors: bufferErrors,
  } = counters(family);
  return { sent, received, bufferErrors, lost: sent - received - errors - strays };
}

function counters(family) {
  if (family === 4) return parseSnmp(read('/proc/net/snmp')).Udp;
  const lines = [...read('/proc/net/snmp6').matchAll(/^Udp6(\w+)\s+(\d+)$/gm)];
  return Object.fromEntries(lines.map(([, name, value]) => [name, Number(value)]));
}

/** Pages that the UDP or TCP sockets of the whole machine have for data, and the three limits of `net.ipv4.udp_mem` and `tcp_mem`. */
export function socketPages(protocol, sockstat) {
  const line = sockstat.find((text) => text.startsWith(`${protocol.toUpperCase()}:`));
  return Number(/ mem (\d+)/.exec(line)[1]);
}

/** Null where there are none: only the first network namespace has these. */
export function socketLimits() {
  if (!existsSync('/proc/sys/net/ipv4/udp_mem')) return { udp: null, tcp: null };
  const limits = (name) => read(`/proc/sys/net/ipv4/${name}`).trim().split(/\s+/).map(Number);
  return { udp: limits('udp_mem'), tcp: limits('tcp_mem') };
}

/** Open files of the whole machine that are left. */
export function filesLeft() {
  const [used, , most] = read('/proc/sys/fs/file-nr').trim().split(/\s+/).map(Number);
  return most - used;
}
