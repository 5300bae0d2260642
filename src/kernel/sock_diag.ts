// Whether sock_diag(7) answers for UDP. Without its answers no 4-tuple can be checked, and so no UDP port can be shared.
import { constants } from 'node:os';
import type { Native } from './addon';
import { AF_INET } from './constants';
import { errnoOf, outcomeCode, syscallOf } from './outcome';
import { askUdpSocket } from './question_socket';

const { errno } = constants;

/** What one thread knows of it. */
export class UdpSharing {
  readonly #native: Native;
  /** Undefined: not known yet. */
  #works: boolean | undefined;

  constructor(native: Native) {
    this.#native = native;
  }

  /**
   * Whether UDP ports can be shared here. Found out when it is first asked for; where that is not possible (EMFILE, say),
   * it is assumed until the next time.
   */
  get works(): boolean {
    if (this.#works !== undefined) return this.#works;
    const seen = this.#native.udpProbe();
    if (seen > 0) this.#works = true;
    else if (seen === 0) this.#giveUp('sock_diag(7) does not find a UDP socket of this process');
    else if (isNetlinkRefused(this.#native, seen)) {
      const call = syscallOf(this.#native, seen);
      this.#giveUp(
        `netlink is refused here (${call} ${outcomeCode(seen)}: a sandbox, or a kernel without CONFIG_INET_UDP_DIAG)`,
      );
    }
    return this.#works ?? true;
  }

  /** A socket was not seen: the next question finds out again. */
  recheck(): void {
    if (this.#works === true) this.#works = undefined;
  }

  // From now on no port is shared. Said once.
  #giveUp(cause: string): void {
    this.#works = false;
    process.emitWarning(
      `${cause}. connectx never hands out a 4-tuple that it could not check, so from now on a UDP port is used for one ` +
        'destination at a time.',
      { type: 'ConnectxWarning', code: 'CONNECTX_UDP_EXCLUSIVE' },
    );
  }
}

let known: { readonly native: Native; readonly sharing: UdpSharing } | undefined;

/** The thread's own, of this addon. */
export function udpSharingOf(native: Native): UdpSharing {
  if (known?.native !== native) known = { native, sharing: new UdpSharing(native) };
  return known.sharing;
}

const SOL_SOCKET = 1;
const SO_BINDTOIFINDEX = 62;

/**
 * The index of the device that a new socket is bound to without having been asked (`ip vrf exec`, by a cgroup BPF program); 0: none.
 * Undefined: that could not be seen. Before Linux 5.1 it is taken for none.
 */
export function deviceOfNewSockets(native: Native): number | undefined {
  const index = askUdpSocket(native, AF_INET, (fd) => {
    const told = native.getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 4);
    return typeof told === 'number' ? 0 : new Int32Array(Uint8Array.from(told).buffer)[0];
  });
  return index === undefined || index < 0 ? undefined : index;
}

const NETLINK_CALLS: ReadonlySet<string> = new Set(['socket', 'send', 'recv', 'netlink']);

/** What sandboxes and kernels without sock_diag for UDP answer. (EACCES may also be a route that prohibits.) */
export const NOT_ALLOWED: ReadonlySet<number> = new Set([
  errno.EPERM,
  errno.EACCES,
  errno.EPROTONOSUPPORT,
  errno.EAFNOSUPPORT,
  errno.EOPNOTSUPP,
  errno.EINVAL,
  errno.ENOSYS,
]);

/** Whether netlink itself was refused, as against: the kernel has answered, or could not even be asked (EMFILE, say). */
export function isNetlinkRefused(native: Native, outcome: number, refusals = NOT_ALLOWED): boolean {
  return NETLINK_CALLS.has(syscallOf(native, outcome)) && refusals.has(errnoOf(outcome));
}
