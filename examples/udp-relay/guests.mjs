// Who may use the relay. A source address is easily forged, so this keeps strangers out and proves nothing.
import { isOwnAddress } from '../shared/addresses.mjs';

export class Guests {
  #clients;
  #ends;

  /** `clients`: Blocks. */
  constructor({ clients, routes }) {
    this.#clients = clients;
    this.#ends = routes.flatMap(({ listen, upstream }) => [listen, upstream]);
  }

  /** The reason why this sender gets no flow; undefined if it may have one. */
  refusal({ address, port }) {
    // Nobody can be answered at port 0: dgram throws, and the kernel has no such port.
    if (port === 0 || this.#isEnd(address, port)) return 'unanswerable';
    return this.#clients.has(address) ? undefined : 'stranger';
  }

  /**
   * The relay itself, or one of its upstreams. A datagram that pretends to come from there would be answered by what is heard
   * as the next question, without end.
   */
  #isEnd(address, port) {
    return this.#ends.some((end) => end.port === port && (end.host === address || isOwnAddress(address)));
  }
}
