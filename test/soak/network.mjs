// Where the soak takes place: a network namespace of its own, with few ports.

export const SERVER = 5353;
/** Nobody listens there. */
export const CLOSED = 5999;
export const LOW = 20000;
export const HIGH = 20063;

/** `table`: the sources as /proc/net shows them. */
export const FAMILIES = [
  {
    family: 4,
    type: 'udp4',
    sources: ['127.0.0.1', '127.0.0.14'],
    table: ['0100007F', '0E00007F'],
    remotes: ['127.0.0.2', '127.0.0.3'],
  },
  {
    family: 6,
    type: 'udp6',
    sources: ['2001:db8::1', '2001:db8::14'],
    table: ['B80D0120000000000000000001000000', 'B80D0120000000000000000014000000'],
    remotes: ['2001:db8::2', '2001:db8::3'],
  },
];

/**
 * The source of TCP connections that are bound to a device: the kernel gives the 4-tuple of such a one to one that is not bound to it, too,
 * and connectx can tell only where the port was given.
 */
export const DEVICE_SOURCES = { 4: '127.0.0.15', 6: '2001:db8::15' };

/** To be run by the namespace's root before anything else. */
export const SETUP = [
  'ip link set lo up',
  ...FAMILIES.flatMap(({ family, sources, remotes }) => [...sources, ...remotes, DEVICE_SOURCES[family]])
    .filter((address) => address.includes(':'))
    .map((address) => `ip addr add ${address}/128 dev lo nodad`),
  `echo '${LOW} ${HIGH}' >/proc/sys/net/ipv4/ip_local_port_range`,
  // A connection that its client closed first would hold its port for a minute, and the ports would change hands once a minute.
  'echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse',
  'echo 64 >/proc/sys/net/ipv4/tcp_max_tw_buckets',
].join('\n');
