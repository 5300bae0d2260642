// Numbers that the addon and TypeScript both use; test/unit/constants.test.ts compares them with what the addon exports.
import type { Family } from '../values/address';

/** Numbers of `linux/rtnetlink.h` (`rtm_type`). */
export const RTN_LOCAL = 2;
export const RTN_BROADCAST = 3;

/** AF_INET and AF_INET6 on Linux. */
export const AF_INET = 2;
export const AF_INET6 = 10;

/** The domain of the sockets that a family is reached by. */
export function domainOf(family: Family): number {
  return family === 6 ? AF_INET6 : AF_INET;
}

/** What `tcpCheck` found. */
export const Verdict = {
  asAsked: 0,
  selfConnected: 1,
  otherAddress: 2,
  otherPort: 3,
  rewritten: 4,
  peerUnknown: 5,
} as const;

/** What `udpConnect` answers. */
export const UdpVerdict = {
  connected: 0,
  portLocked: 1,
  tupleInUse: 2,
  contended: 3,
  unseen: 4,
  moved: 5,
  connectedAlone: 6,
  connectedElsewhere: 7,
} as const;

/** What `udpConnect` takes. */
export const UdpFlag = { shared: 1, exclusive: 2, alone: 4, automatic: 8 } as const;

/** What `udpOffloads` found. */
export const UdpOffload = { segment: 1, receive: 2 } as const;

/** The sizes of what a batch of UDP sockets writes: runs and events of one turn, and how many counts there are. */
export const BatchSize = { runs: 1024, events: 256, stats: 18 } as const;

/** States of `include/net/tcp_states.h`; UDP uses `established` and `closed`: connected, and only bound. */
export const SocketState = { established: 1, synSent: 2, timeWait: 6, closed: 7, listening: 10 } as const;

/** What `tcpFeatures` found. */
export const TcpFeature = { bindAddressNoPort: 1, localPortRange: 2, fastOpenConnect: 4 } as const;

/** The slots of {@link Native.answers}. */
export const Answer = { port: 0, assigned: 1, place: 2, looked: 3, denied: 4 } as const;
