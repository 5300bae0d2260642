// An alarm before the ports run out: portUsage() again and again, with hysteresis.
import { EventEmitter } from 'node:events';
import { invalidType, outOfRange } from '../errors/argument_errors';
import type { Native } from '../kernel/addon';
import { nativeFor } from '../kernel/load';
import { checkFilter, type CheckedFilter, type PortUsage, type UsageFilter, usageNow } from './port_usage';
import { usageKey } from './usage';

/** Options of {@link PortMonitor}. */
export interface PortMonitorOptions {
  /** Milliseconds from the end of a sample to the next one. Default 10,000. */
  interval?: number | undefined;
  /** `'high'` is emitted when `ratio` reaches it. 0 to 1, default 0.8. */
  high?: number | undefined;
  /** `'low'` is emitted when `ratio`, having been high, is below it. 0 to `high`, default 0.7, or `high` if that is less. */
  low?: number | undefined;
  /** Which ports are watched. Default: all. */
  filter?: UsageFilter | undefined;
}

/** What {@link PortMonitor} emits. */
export interface PortMonitorEvents {
  /** Each sample, fullest first. */
  sample: [usage: PortUsage[]];
  /** A source and destination that has reached `high`; once, until it has been `low`. */
  high: [usage: PortUsage];
  /** One that was high and is below `low`; `used` is 0 if no port is left in use. */
  low: [usage: PortUsage];
  /** A sample could not be taken; the next one is tried in time. */
  error: [error: Error];
}

function number(name: string, value: unknown, fallback: number, low: number, high: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value);
  if (!(value >= low && value <= high)) throw outOfRange(name, `>= ${low} && <= ${high}`, value);
  return value;
}

/** setTimeout(3)'s greatest delay. */
const LONGEST = 2 ** 31 - 1;

/**
 * Emits `'high'` when the ports from some source towards some destination run out, and `'low'` when they are free again.
 * The first sample is taken at once; no two overlap; the timer does not keep the process running.
 *
 * @throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` and what {@link portUsage} throws.
 *
 * @example
 * const monitor = new PortMonitor({ interval: 5000, high: 0.8, low: 0.6, filter: { protocol: 'tcp' } });
 * monitor.on('high', ({ localAddress, remoteAddress, ratio }) => {
 *   console.warn(`${localAddress} -> ${remoteAddress}: ${Math.round(ratio * 100)} % of the ports are in use`);
 * });
 * monitor.on('error', console.error);
 */
export class PortMonitor extends EventEmitter<PortMonitorEvents> {
  /** Milliseconds. */
  readonly interval: number;
  /** The ratio at which `high` is emitted. */
  readonly high: number;
  /** The ratio below which `low` is emitted. */
  readonly low: number;
  readonly #native: Native;
  readonly #filter: CheckedFilter;
  readonly #highNow = new Map<string, PortUsage>();
  #timer: NodeJS.Timeout | undefined;
  #sampling: Promise<void> | undefined;
  #closed = false;

  /** Throws when an option is wrong, or ports in use cannot be asked for here. */
  constructor(options: PortMonitorOptions = {}) {
    super();
    if (typeof options !== 'object' || (options as unknown) === null) {
      throw invalidType('options', 'of type object', options);
    }
    this.interval = number('options.interval', options.interval, 10_000, 1, LONGEST);
    this.high = number('options.high', options.high, 0.8, 0, 1);
    this.low = number('options.low', options.low, Math.min(0.7, this.high), 0, this.high);
    this.#filter = checkFilter(options.filter);
    this.#native = nativeFor('port-usage');
    this.#schedule(0);
  }

  /** Stops. Resolves when a sample that is under way is over; nothing is emitted any more. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#sampling;
  }

  /** {@link PortMonitor.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #schedule(delay: number): void {
    this.#timer = setTimeout(() => {
      this.#sampling = this.#sample();
    }, delay).unref();
  }

  async #sample(): Promise<void> {
    let report: () => void;
    try {
      const usage = await usageNow(this.#native, this.#filter);
      report = () => this.#report(usage);
    } catch (error) {
      report = () => this.emit('error', error as Error);
    }
    if (this.#closed) return;
    this.#schedule(this.interval);
    // Not in here: what a listener throws, and an 'error' that nobody listens to, are uncaught exceptions, as with any emitter.
    process.nextTick(() => {
      if (!this.#closed) report();
    });
  }

  #report(usage: PortUsage[]): void {
    const changes: [name: 'high' | 'low', usage: PortUsage][] = [];
    const gone = new Map(this.#highNow);
    for (const one of usage) {
      const key = usageKey(one);
      gone.delete(key);
      if (this.#highNow.has(key)) {
        if (one.ratio < this.low) {
          this.#highNow.delete(key);
          changes.push(['low', one]);
        }
      } else if (one.ratio >= this.high) {
        this.#highNow.set(key, one);
        changes.push(['high', one]);
      }
    }
    for (const [key, last] of gone) {
      this.#highNow.delete(key);
      changes.push(['low', { ...last, used: 0, timeWait: 0, ratio: 0 }]);
    }
    // After the books are in order, for a listener may throw or close.
    this.emit('sample', usage);
    for (const [name, one] of changes) if (!this.#closed) this.emit(name, one);
  }
}
