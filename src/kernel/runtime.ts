// Which runtime this is, and which ways to connect it can carry. Bun and Deno call themselves a Node release (`process.versions.node`), but
// lack parts of Node that connectx builds upon.
import { type ConnectxError, unsupported } from '../errors/connectx_error';

/** The runtime that runs this program. */
export interface Runtime {
  /** `node`, `bun` or `deno`. */
  name: 'node' | 'bun' | 'deno';
  /** Its own version, not that of the Node release that it stands in for. */
  version: string;
}

/** What a runtime may be unable to do. */
export type Way = 'tcp' | 'udp' | 'udpSync';

interface Lack {
  /** The `reason` of the error. */
  readonly feature: string;
  /** What is missing, and what to use. */
  why(runtime: string): string;
}

const NET = 'net.connect({ localAddress }), which takes the source port away from every other destination';

const tcpHandle = (others: string): Lack => ({
  feature: 'tcp-handle',
  why: (runtime) =>
    `TCP with a source needs the handles of Node's own net.Socket, which ${runtime} does not have. ` +
    `Run the program on Node, or use ${NET}. ${others}`,
});

const udpDescriptor: Lack = {
  feature: 'udp-descriptor',
  why: (runtime) =>
    `${runtime} cannot make a dgram.Socket of a descriptor, and does not connect its own in the kernel, so no 4-tuple can be kept apart ` +
    'there. Run the program on Node, or use node:dgram without connect',
};

const LACKS: Readonly<Record<Runtime['name'], Readonly<Partial<Record<Way, Lack>>>>> = {
  node: {},
  bun: {
    tcp: tcpHandle('connectUdp works'),
    udpSync: {
      feature: 'connectUdpSync',
      why: (runtime) => `${runtime} binds a dgram.Socket later, not within the call. Use connectUdp, which works`,
    },
  },
  deno: {
    tcp: tcpHandle('portUsage, PortMonitor, listenerConflicts and connectx/sys work'),
    udp: udpDescriptor,
    udpSync: udpDescriptor,
  },
};

const TITLES = { node: 'Node', bun: 'Bun', deno: 'Deno' } as const;

/** The runtime that has these `process.versions`. */
export function runtimeOf(versions: Readonly<Record<string, string | undefined>>): Runtime {
  const { bun, deno, node = '' } = versions;
  if (bun !== undefined) return { name: 'bun', version: bun };
  if (deno !== undefined) return { name: 'deno', version: deno };
  return { name: 'node', version: node };
}

/** For messages: `Bun 1.4.5`. */
export function titleOf({ name, version }: Runtime): string {
  return `${TITLES[name]} ${version}`;
}

/** Why this runtime cannot connect in this way, undefined where it can. */
export function refusalOf(way: Way, on: Runtime): ConnectxError | undefined {
  const lack = LACKS[on.name][way];
  return lack && unsupported(lack.feature, lack.why(titleOf(on)));
}

/** This one. */
export const runtime: Runtime = runtimeOf(process.versions);

/** Whether this runtime can connect in this way. */
export function carries(way: Way): boolean {
  return LACKS[runtime.name][way] === undefined;
}

/** Throws ERR_CONNECTX_UNSUPPORTED where this runtime cannot connect in this way. */
export function requireWay(way: Way): void {
  const refusal = refusalOf(way, runtime);
  if (refusal !== undefined) throw refusal;
}
