// Spans of OpenTelemetry for connects, with the attributes of its semantic conventions (network.*, server.*, error.type).
// Fed by the tracing channel `connectx:connect`; a program that never calls this pays nothing for it.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';

const NAME = 'tracing:connectx:connect';

/**
 * Makes a span of each connect from now on, a child of what is active when the connect begins. What is returned ends that.
 *
 * @param {import('@opentelemetry/api').Tracer} tracer
 * @returns {() => void}
 */
export function traceConnects(tracer) {
  /** The spans of connects that are under way, by the object that all events of one connect have in common. */
  const spans = new WeakMap();

  const start = (trace) => {
    const { transport, host, port } = trace;
    const attributes = { 'network.transport': transport, 'server.address': host, 'server.port': port };
    spans.set(trace, tracer.startSpan(`connect ${transport}`, { kind: SpanKind.CLIENT, attributes }));
  };

  const over = (trace) => {
    const span = spans.get(trace);
    if (span === undefined || !spans.delete(trace)) return;
    const { source, destination, technique, attempts, error } = trace;
    const last = attempts.at(-1);
    const peer = destination ?? last?.destination;
    const local = source?.address ?? last?.localAddress;
    if (peer !== undefined) {
      span.setAttribute('network.peer.address', peer.address);
      span.setAttribute('network.peer.port', peer.port);
      span.setAttribute('network.type', peer.family === 6 ? 'ipv6' : 'ipv4');
    }
    if (local !== undefined) span.setAttribute('network.local.address', local);
    if (source !== undefined) span.setAttribute('network.local.port', source.port);
    if (technique !== undefined) span.setAttribute('connectx.technique', technique);
    span.setAttribute('connectx.attempts', attempts.length);
    if (error !== undefined) {
      // Of few values, as the conventions ask for: the reason where there is one, else the code.
      span.setAttribute('error.type', error.reason ?? error.code ?? error.name ?? '_OTHER');
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    } else if (source === undefined) {
      span.setAttribute('error.type', 'aborted');
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'given up by the program' });
    }
    span.end();
  };

  // Most connects go on when the call has returned; connectUdpSync is over then, and so is what has thrown.
  const end = (trace) => {
    if (trace.source !== undefined || trace.error !== undefined) over(trace);
  };

  const listeners = { start, end, asyncEnd: over };
  for (const [event, listener] of Object.entries(listeners)) subscribe(`${NAME}:${event}`, listener);
  return () => {
    for (const [event, listener] of Object.entries(listeners)) unsubscribe(`${NAME}:${event}`, listener);
  };
}
