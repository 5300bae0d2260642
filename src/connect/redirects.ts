// Do connects of this thread lead to where they were asked to? A BPF program on the cgroup may rewrite destinations inside connect(2), as
// Kubernetes services are made. To ask the kernel after each connect costs some microseconds, so each destination is asked about once, until
// one of them was rewritten: from then on, all connects are.

/** So many destinations are remembered. */
const MOST = 1024;
/** After so many of them that nobody has rewritten, one in {@link SAMPLE} of the new ones is asked about. */
const CALM = 256;
const SAMPLE = 16;

export class Redirects {
  readonly #asAsked = new Set<string>();
  /** The one of them that was asked for last: mostly a program connects to the same one again, and to make its key costs more than the rest. */
  #lastAddress = '';
  #lastPort = 0;
  #calm = 0;
  #unasked = 0;
  #isSeen = false;

  /** Whether the kernel is to be asked where a connect to this destination has led. */
  mustAsk(address: string, port: number): boolean {
    if (port === this.#lastPort && address === this.#lastAddress) return false;
    if (this.#isSeen) return true;
    if (this.#asAsked.has(keyOf(address, port))) {
      this.#lastAddress = address;
      this.#lastPort = port;
      return false;
    }
    if (this.#calm < CALM) return true;
    this.#unasked = (this.#unasked + 1) % SAMPLE;
    return this.#unasked === 0;
  }

  /** The kernel has connected where it was asked to. */
  wasAsAsked(address: string, port: number): void {
    if (this.#isSeen) return;
    this.#calm++;
    if (this.#asAsked.size >= MOST) this.#forget();
    this.#asAsked.add(keyOf(address, port));
  }

  /** It has connected to somebody else. */
  wasRewritten(): void {
    this.#isSeen = true;
    this.#forget();
  }

  #forget(): void {
    this.#asAsked.clear();
    this.#lastAddress = '';
  }
}

function keyOf(address: string, port: number): string {
  return `${address} ${port}`;
}

/** Those of TCP and of UDP may be rewritten by different programs. */
export const tcpRedirects = new Redirects();
export const udpRedirects = new Redirects();
