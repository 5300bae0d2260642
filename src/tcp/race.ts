// RFC 8305: an attempt goes on when the next one begins, and the first to connect wins. Core resolves the name, orders the addresses,
// begins the attempts and makes their events and errors. When the delay of an attempt is over it would close the handle; it is kept
// from that, and this is who waits for such overtaken attempts: one that connects takes the place of core's current one, and core does
// not give up as long as there is one.
import type * as net from 'node:net';
import type { Destination } from '../values/address';
import { clearTimeout, setTimeout } from '../values/timers';
import { afterConnect } from './after_connect';
import { putOver } from './beside';
import type { ConnectRequest, TcpHandle } from './core_handle';
import { connectError, errorsIn } from '../errors/connectx_error';
import type { Racer } from './racer';
import { closeOne, type Follower, followReferences, keepContext, putInPlace, takeAway } from './swap';

/** When core's last attempt has failed, the overtaken ones have this long, in ms. */
const PATIENCE_MS = 5000;

/** An attempt whose delay is over. */
interface Place {
  readonly racer: Racer;
  /** Why it has failed, which was after its delay. */
  error: Error | undefined;
}

/** Of one connect of one socket, from the end of the first delay to the end of connecting. */
export class Race {
  readonly #socket: net.Socket;
  readonly #overtaken: Place[] = [];
  readonly #restoreConnect: () => void;
  /** What core gave up with, and when everybody does. */
  #heldBack: { readonly error: Error; readonly timer: NodeJS.Timeout } | undefined;
  /** The attempt that core began last, and what it was told of a failure last. */
  #current: { readonly racer: Racer; failure: unknown } | undefined;
  #isOver = false;
  /** Gives the handle its own `close` again. */
  #restoreClose: (() => void) | undefined;
  #follower: Follower | undefined;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    const { connect } = socket as unknown as { connect: (...args: unknown[]) => net.Socket };
    this.#restoreConnect = putOver(socket, 'connect', (...args: unknown[]) => {
      if (!this.#isOver) this.#endForAnother();
      return Reflect.apply(connect, socket, args);
    });
  }

  /**
   * The delay of core's current attempt is over. When listeners have heard of it, core takes the request's `oncomplete` away, closes the
   * handle, puts another one in its place, and closes it once more on that occasion.
   */
  overtake(racer: Racer): void {
    if (this.#isOver || racer.request === undefined || racer.oncomplete === undefined) return;
    this.#current = { racer, failure: undefined };
    const { handle, request } = racer;
    const { close } = handle;
    let calls = 0;
    const shadow: TcpHandle['close'] = (callback) => {
      calls++;
      if (calls === 1 && callback === undefined) {
        this.#enter(racer, request);
        return;
      }
      this.#restoreClose?.();
      if (calls > 2 || callback !== undefined) handle.close(callback);
    };
    handle.close = shadow;
    this.#restoreClose = () => {
      // Where a listener has thrown, the attempt has gone on, and there may be a lease by now.
      if (handle.close === shadow) handle.close = close;
      this.#restoreClose = undefined;
    };
  }

  #enter(racer: Racer, request: ConnectRequest): void {
    const place: Place = { racer, error: undefined };
    this.#overtaken.push(place);
    keepContext(racer.handle);
    racer.overtaken = (status, readable, writable) => {
      if (racer.overtaken == null) return;
      if (this.#socket.destroyed || !this.#socket.connecting) this.end();
      else if (status === 0) this.#won(racer, request, readable, writable);
      else this.#lost(place, request, status);
    };
    request.oncomplete = (status, _handle, _request, readable, writable) => {
      racer.overtaken?.(status, readable, writable);
    };
  }

  /** Core begins an attempt, with a new handle. */
  began(racer: Racer): void {
    if (this.#isOver) return;
    this.#restoreClose?.();
    const before = this.#current?.racer.handle;
    this.#current = { racer, failure: undefined };
    this.#follower?.leave();
    this.#follower = followReferences(this.#socket, racer.handle, before, () =>
      this.#open().map(({ handle }) => handle),
    );
  }

  /** An attempt has failed, and core knows of it. */
  coreFailed(error: unknown): void {
    if (this.#isOver || this.#overtaken.some((place) => place.error === error)) return;
    this.#restoreClose?.();
    if (this.#current !== undefined) this.#current.failure = error;
  }

  /** Whether it is core that gives up with this error, and there still are attempts under way. Then it has to wait. */
  holdBack(error: Error): boolean {
    if (this.#isOver || this.#heldBack !== undefined || this.#open().length === 0 || !this.#isOfCore(error))
      return false;
    // The attempts keep the event loop alive.
    const timer = setTimeout(() => this.#giveUp(), PATIENCE_MS).unref();
    this.#heldBack = { error, timer };
    return true;
  }

  /**
   * The socket is being destroyed. Where core has given up it has written ETIMEDOUT for each attempt that it no longer waited for. Its
   * error has the code of the first one.
   */
  finish(error: Error | undefined): void {
    const wasOver = this.#isOver;
    this.end();
    if (wasOver || error === undefined || !this.#isOfCore(error)) return;
    const errors = errorsIn(error) as unknown[];
    for (const { racer, error: real } of this.#overtaken) {
      if (real !== undefined) errors[placeholderOf(racer, errors)] = real;
    }
    Object.assign(error, { code: (errors[0] as NodeJS.ErrnoException).code });
  }

  // Not an AggregateError of somebody else's.
  #isOfCore(error: Error): boolean {
    const errors = errorsIn(error);
    const failure = this.#current?.failure;
    if (errors === undefined || failure === undefined || errors.at(-1) !== failure) return false;
    return this.#overtaken.every(({ racer }) => placeholderOf(racer, errors) >= 0);
  }

  /** Ends all attempts but core's. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#heldBack !== undefined) clearTimeout(this.#heldBack.timer);
    this.#restoreConnect();
    this.#restoreClose?.();
    this.#follower?.leave();
    for (const racer of this.#open()) this.#drop(racer);
  }

  #open(): Racer[] {
    return this.#overtaken.map(({ racer }) => racer).filter(({ overtaken }) => overtaken != null);
  }

  #drop(racer: Racer): void {
    racer.overtaken = null;
    if (racer.request !== undefined) racer.request.oncomplete = undefined;
    closeOne(this.#socket, racer.handle);
  }

  // The program connects the socket once more. When core has given up, it finds a socket with no handle, as of one that was destroyed.
  #endForAnother(): void {
    const hadGivenUp = this.#heldBack !== undefined;
    this.end();
    if (hadGivenUp) takeAway(this.#socket);
  }

  #won(racer: Racer, request: ConnectRequest, readable: boolean, writable: boolean): void {
    const { racer: current, failure } = this.#current ?? {};
    racer.overtaken = undefined;
    this.end();
    // libuv will say that the connect of the handle that is closed was canceled.
    if (current?.request !== undefined) current.request.oncomplete = undefined;
    putInPlace(this.#socket, racer.handle);
    // Core takes this for the success of its current attempt, unless it has gone on to an address that it then did not attempt.
    const oncomplete = isBlocked(failure) ? afterConnect() : (current?.oncomplete ?? afterConnect());
    oncomplete.call(request, 0, racer.handle, request, readable, writable);
  }

  #lost(place: Place, request: ConnectRequest, status: number): void {
    const { racer } = place;
    const { address, port, family } = racer.destination;
    racer.overtaken = null;
    request.oncomplete = undefined;
    place.error = connectError(status, request);
    try {
      this.#socket.emit('connectionAttemptFailed', address, port, family, place.error);
    } finally {
      closeOne(this.#socket, racer.handle);
      if (this.#heldBack !== undefined && this.#open().length === 0) this.#giveUp();
    }
  }

  #giveUp(): void {
    if (!this.#isOver && this.#heldBack !== undefined) this.#socket.destroy(this.#heldBack.error);
  }
}

function placeholderOf({ destination }: Racer, errors: readonly unknown[]): number {
  return errors.findIndex((error) => {
    const { code, address, port } = (error ?? {}) as NodeJS.ErrnoException & Partial<Destination>;
    return code === 'ETIMEDOUT' && address === destination.address && port === destination.port;
  });
}

// Of the socket's blockList: core has not even made a request.
function isBlocked(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_IP_BLOCKED';
}
