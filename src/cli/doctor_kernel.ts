// The doctor: what this kernel can do, which release brought it, and what stands between a program and the network.
import { isIP } from 'node:net';
import { release } from 'node:os';
import { kernelFile } from './kernel_files';
import type { Check } from './text';
import type { Native } from '../kernel/addon';
import { AF_INET, domainOf } from '../kernel/constants';
import { kernelOf } from '../kernel/kernel';
import { unwrap } from '../kernel/outcome';
import { askUdpSocket } from '../kernel/question_socket';
import { udpSharingOf } from '../kernel/sock_diag';
import { connectUdpSync } from '../udp/connect';

/** The kernel's own, whatever the runtime makes of it. */
export function featureChecks(native: Native): Check[] {
  const kernel = kernelOf(native);
  const { hasNoPort, hasPortRange } = kernel;
  const udpShared = udpSharingOf(native).works;
  const check = (name: string, has: boolean, level: 'note' | 'finding', without: string, remedy: string): Check =>
    has ? { name, level: 'ok', message: `${name}: yes` } : { name, level, message: `${name}: no; ${without}`, remedy };
  const newer = (version: string) => `a kernel from ${version} on, or a sandbox that knows the option`;
  return [
    check('IP_BIND_ADDRESS_NO_PORT', hasNoPort, 'finding', 'a pinned source cannot share its ports', newer('4.2')),
    check('IP_LOCAL_PORT_RANGE', hasPortRange, 'note', 'connects slow down above 50 %', newer('6.3')),
    check(
      'bound ports return',
      kernel.returnsPorts(),
      'note',
      'a port that was bound explicitly is not assigned again until every socket on it is gone',
      'take localPort outside of the ephemeral range, or a kernel from 6.18 on',
    ),
    check(
      'shared UDP ports',
      udpShared,
      'finding',
      'a UDP port serves one destination at a time',
      'load the module udp_diag (modprobe udp_diag), and let the sandbox allow AF_NETLINK sockets',
    ),
  ];
}

/** What a release brought that matters here; docs/tcp.md and docs/udp.md say more. */
const ROWS = [
  [
    6,
    3,
    'a range for each socket (IP_LOCAL_PORT_RANGE)',
    'localPortRange searches in user space, and connects slow down above 50 %',
  ],
  [6, 8, 'with a range, no search by parity', 'connects slow down above 50 %, also with a range'],
  [6, 13, 'a hash table of connected UDP sockets', 'a datagram is looked up among all sockets of its local port'],
  [6, 15, 'look-ups of connect(2) without a lock', 'connects of several processors wait for one another'],
  [
    6,
    18,
    'a port that was bound explicitly comes back when its last such socket is gone',
    'a port that was bound explicitly is withheld until every socket on it is gone',
  ],
] as const;

/** By the number of the release: distributions may have brought it to an older one. */
export function releaseChecks(text = release()): Check[] {
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return ROWS.map(([rowMajor, rowMinor, what, without]) => {
    const name = `kernel-${rowMajor}.${rowMinor}`;
    const row = `Linux ${rowMajor}.${rowMinor}: ${what}`;
    if (major > rowMajor || (major === rowMajor && minor >= rowMinor)) return { name, level: 'ok', message: row };
    const message = `${row}; this is ${text}: ${without}`;
    return { name, level: 'note', message, remedy: `a kernel from ${rowMajor}.${rowMinor} on` };
  });
}

const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const IPPROTO_UDP = 17;
const ESTABLISHED = 1;

/** The device that sockets of this process are born bound to: `ip vrf exec`. */
function deviceAtBirth(native: Native): string | undefined {
  const bytes = askUdpSocket(native, AF_INET, (fd) => native.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, 16));
  const name = typeof bytes === 'number' ? '' : bytes.toString('latin1').replace(/\0.*/s, '');
  return name === '' ? undefined : name;
}

/** The devices of this network namespace. */
export function devices(): string[] {
  return [...(kernelFile('/proc/net/dev') ?? '').matchAll(/^ *([^\s:]+):/gm)].map(([, name = '']) => name);
}

const isVrf = (device: string): boolean => /^DEVTYPE=vrf$/m.test(kernelFile(`/sys/class/net/${device}/uevent`) ?? '');

export function vrfChecks(native: Native | undefined): Check[] {
  const own = native && deviceAtBirth(native);
  const vrfs = devices().filter(isVrf);
  if (own !== undefined) {
    const message = `sockets of this process are born bound to ${own}: only what is reached by it is reached`;
    const remedy = `as it should be under ip vrf exec; otherwise start the program outside of ${own}`;
    return [{ name: 'vrf', level: 'note', message, remedy }];
  }
  if (vrfs.length === 0) return [{ name: 'vrf', level: 'ok', message: 'no VRF' }];
  const accepts = (protocol: string) => kernelFile(`/proc/sys/net/ipv4/${protocol}_l3mdev_accept`) ?? '?';
  return [
    {
      name: 'vrf',
      level: 'note',
      message: `VRF ${vrfs.join(', ')}: a connection goes through one of them only if its socket is bound to it (tcp_l3mdev_accept ${accepts('tcp')}, udp_l3mdev_accept ${accepts('udp')})`,
      remedy: `the option interface: '${vrfs[0]}', or start the program by ip vrf exec ${vrfs[0]}`,
    },
  ];
}

const REWRITTEN =
  'a program of the cgroup replaces service addresses inside connect(2): connections are to the backends, and so are counted ports';

/** Whether service addresses are replaced: tried with the one that every pod of Kubernetes knows. Nothing is sent. */
function isRewritten(native: Native, host: string, port: number): boolean {
  const socket = connectUdpSync({ host, port });
  const local = socket.address();
  const domain = domainOf(isIP(host) === 6 ? 6 : 4);
  // getpeername(2) may name the service all the same; the kernel's table has what was connected.
  const found = native.diagLookup(IPPROTO_UDP, domain, local.address, local.port, host, port, 0);
  socket.close();
  return unwrap(native, found)?.state !== ESTABLISHED;
}

export function loadBalancingChecks(native: Native | undefined, env: NodeJS.ProcessEnv = process.env): Check[] {
  const name = 'socket-load-balancing';
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: service = '' } = env;
  const port = Number(service);
  const remedy =
    'nothing to do for connectx, which verifies what was connected; look for the backends in connectx usage';
  if (native !== undefined && isIP(host) !== 0 && Number.isInteger(port) && port > 0 && port < 65536) {
    try {
      if (isRewritten(native, host, port)) return [{ name, level: 'note', message: REWRITTEN, remedy }];
      return [{ name, level: 'ok', message: `connections to the service address ${host} go there` }];
    } catch (error) {
      const message = `a UDP socket to the service address ${host} cannot be had: ${(error as Error).message}`;
      return [{ name, level: 'finding', message, remedy: 'see whether the cluster network works here' }];
    }
  }
  if (devices().some((device) => /^cilium_/.test(device))) {
    const message = `Cilium is here; with its socket load balancing ${REWRITTEN}`;
    return [{ name, level: 'note', message, remedy }];
  }
  return [{ name, level: 'ok', message: 'no sign of socket load balancing' }];
}
