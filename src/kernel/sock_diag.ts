// Whether sock_diag(7) answers for UDP. Without its answers no 4-tuple can be checked, and so no UDP port can be shared.
import type { Native } from './addon';

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
    else if (seen === 0) this.#giveUp();
    return this.#works ?? true;
  }

  /** A socket was not seen: the next question finds out again. */
  recheck(): void {
    if (this.#works === true) this.#works = undefined;
  }

  // From now on no port is shared. Said once.
  #giveUp(): void {
    this.#works = false;
    process.emitWarning(
      'sock_diag(7) does not answer for UDP here (a sandbox, or a kernel without CONFIG_INET_UDP_DIAG). connectx never hands ' +
        'out a 4-tuple that it could not check, so from now on a UDP port is used for one destination at a time.',
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
