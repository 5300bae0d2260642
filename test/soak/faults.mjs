// Lets a call of the addon fail now and then: test/native/faults.cc, which stands before the C library in this process.
import { createRequire } from 'node:module';
import { faultsOf } from '../faults/errnos.mjs';

// As often as the addon makes them, about.
const CALLS = [
  'socket',
  'close',
  'setsockopt',
  'getsockopt',
  'bind',
  'connect',
  'getsockname',
  'dup3',
  'open',
  'read',
].concat(['send', 'recv', 'recv', 'recv', 'recvfrom']);

export class Faults {
  #interposer;
  #chance;
  /** How many came about. */
  hits = 0;
  /** The latest, in case something goes wrong. */
  #latest = [];
  #armed = '';

  constructor(chance) {
    const path = process.env.LD_PRELOAD.split(':').find((one) => one.endsWith('/faults.node'));
    this.#interposer = createRequire(import.meta.url)(path);
    this.#chance = chance;
  }

  /** One of the next calls fails, whoever makes it; the one before it does not any more. */
  next() {
    this.stop();
    const call = this.#chance.of(CALLS);
    const { what, shown } = this.#chance.of(faultsOf(call));
    const index = this.#chance.below(6);
    this.#armed = `${index} ${call}: ${shown}`;
    this.#interposer.arm(call, index, what, false);
  }

  stop() {
    if (this.#interposer.disarm() === 0) return;
    this.hits++;
    this.#latest.push(this.#armed);
    if (this.#latest.length > 20) this.#latest.shift();
  }

  toString() {
    return this.#latest.join(', ');
  }
}
