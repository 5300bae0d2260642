// The tracing channel `connectx:connect`: what a connect is doing, for whoever subscribes. Without subscribers it costs the
// look at whether there are any.
import { tracingChannel } from 'node:diagnostics_channel';
import type { Destination } from '../values/address';

/** How a source port was got. */
export type TracedTechnique =
  /** The kernel assigns a port at connect(2). */
  | 'assign'
  /** The same, with a range of one port. */
  | 'pin'
  /** An explicit bind(2). */
  | 'bind'
  /** An explicit bind(2), port after port. */
  | 'search'
  /** An explicit bind(2) of a port in TIME-WAIT. */
  | 'take-over'
  /** As `node:net` or `node:dgram` does it: off Linux. */
  | 'core'
  /** UDP: the lock. */
  | 'shared'
  /** UDP: a port of its own, where the kernel does not tell who else is on it. */
  | 'exclusive';

/** One address that was attempted. */
export interface TracedAttempt {
  /** The address that was attempted. */
  destination: Destination;
  /** The source address that was asked for, of a pool the last one; undefined: the kernel's choice. */
  localAddress: string | undefined;
  /** How its port was got, or would have been. */
  technique: TracedTechnique | undefined;
  /** `reason` of its failure, where connectx knows one. */
  reason: string | undefined;
}

/** The message of all events of one connect: one and the same object, which fills. */
export interface ConnectTrace {
  /** Which of them it is. */
  transport: 'tcp' | 'udp';
  /** As it was asked for: a name or an address. */
  host: string;
  /** As it was asked for. */
  port: number;
  /** Set at `asyncEnd` when it has connected: the local end. */
  source:
    | {
        /** A numeric IP. */
        address: string;
        /** 1 to 65535. */
        port: number;
      }
    | undefined;
  /** Set at `asyncEnd` when it has connected: the remote end. */
  destination: Destination | undefined;
  /** How the port was got. */
  technique: TracedTechnique | undefined;
  /** Each address that was attempted, in their order. */
  attempts: TracedAttempt[];
  /** Set at `error`. */
  error: unknown;
}

const channel = tracingChannel<'connectx:connect', ConnectTrace>('connectx:connect');
const { start, end, asyncStart, asyncEnd, error: failed } = channel;

/** Whether somebody listens. */
export function isTraced(): boolean {
  return (
    start.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    failed.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers
  );
}

/** Begins a trace; undefined when nobody listens. To be ended by {@link returned} and {@link finished}. */
export function beginTrace(
  transport: ConnectTrace['transport'],
  host: unknown,
  port: unknown,
): ConnectTrace | undefined {
  if (!isTraced()) return undefined;
  const trace: ConnectTrace = {
    transport,
    host: typeof host === 'string' ? host : 'localhost',
    port: Number(port),
    source: undefined,
    destination: undefined,
    technique: undefined,
    attempts: [],
    error: undefined,
  };
  start.publish(trace);
  return trace;
}

/** The call has returned; the connect goes on. */
export function returned(trace: ConnectTrace | undefined): void {
  if (trace !== undefined) end.publish(trace);
}

/** The call has thrown, and there is no connect. */
export function threw(trace: ConnectTrace | undefined, error: unknown): void {
  if (trace === undefined) return;
  trace.error = error;
  failed.publish(trace);
  end.publish(trace);
}

/** It has connected, or failed (`trace.error`), or was given up. */
export function finished(trace: ConnectTrace): void {
  if (trace.error !== undefined) failed.publish(trace);
  asyncStart.publish(trace);
  asyncEnd.publish(trace);
}
