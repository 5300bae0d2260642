// Who listens to diagnostics channels.
import { hasSubscribers } from 'node:diagnostics_channel';

/** How many of the events of a tracing channel have subscribers. */
export function subscribersOf(tracing: string): number {
  const events = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'];
  return events.filter((event) => hasSubscribers(`${tracing}:${event}`)).length;
}
