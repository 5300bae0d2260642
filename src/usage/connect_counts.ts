// How connects end, heard on the tracing channel `connectx:connect` (connect/trace.ts).
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ConnectTrace } from '../connect/trace';

export interface ConnectListener {
  connected(protocol: 'tcp' | 'udp', seconds: number): void;
  failed(protocol: 'tcp' | 'udp', outcome: 'failed' | 'aborted', reason: string): void;
}

const NAME = 'tracing:connectx:connect';
/** Reasons are a closed set, codes of a user's own lookup are not: what is beyond so many counts as `other`. */
const MOST_REASONS = 64;

/** Tells the listener of each connect, once. */
export class ConnectCounts {
  readonly #listener: ConnectListener;
  /** Those under way, and when they began. */
  readonly #begun = new WeakMap<object, number>();
  readonly #reasons = new Set<string>();

  constructor(listener: ConnectListener) {
    this.#listener = listener;
  }

  start(): void {
    subscribe(`${NAME}:start`, this.#onStart);
    subscribe(`${NAME}:end`, this.#onEnd);
    subscribe(`${NAME}:asyncEnd`, this.#onAsyncEnd);
  }

  stop(): void {
    unsubscribe(`${NAME}:start`, this.#onStart);
    unsubscribe(`${NAME}:end`, this.#onEnd);
    unsubscribe(`${NAME}:asyncEnd`, this.#onAsyncEnd);
  }

  readonly #onStart = (message: unknown): void => {
    this.#begun.set(message as object, performance.now());
  };

  // The call has returned. Most connects go on; what was done within the call is over: connected (`source`), or thrown (`error`).
  readonly #onEnd = (message: unknown): void => {
    const { source, error } = message as ConnectTrace;
    if (source !== undefined || error !== undefined) this.#over(message as ConnectTrace);
  };

  readonly #onAsyncEnd = (message: unknown): void => {
    this.#over(message as ConnectTrace);
  };

  #over(trace: ConnectTrace): void {
    const begun = this.#begun.get(trace);
    // Counted already, or begun before anybody listened.
    if (begun === undefined || !this.#begun.delete(trace)) return;
    const { transport, source, error } = trace;
    if (source !== undefined) this.#listener.connected(transport, (performance.now() - begun) / 1000);
    else if (error === undefined) this.#listener.failed(transport, 'aborted', '');
    else if (isAbort(error)) this.#listener.failed(transport, 'aborted', this.#bounded(reasonOf(error)));
    else this.#listener.failed(transport, 'failed', this.#bounded(reasonOf(error)));
  }

  #bounded(reason: string): string {
    if (!this.#reasons.has(reason) && this.#reasons.size >= MOST_REASONS) return 'other';
    this.#reasons.add(reason);
    return reason;
  }
}

const isAbort = (error: unknown): boolean => (error as { name?: unknown } | null)?.name === 'AbortError';

/** `reason`, where there is one; else the code, such as `ECONNREFUSED`. */
function reasonOf(error: unknown): string {
  const { reason, code } = (error ?? {}) as { reason?: unknown; code?: unknown };
  if (typeof reason === 'string' && reason !== '') return reason;
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code) ? code : 'unknown';
}
