// What a client is told when its upstream connection fails.

/** This machine has no port, or no descriptor, left for it; it may have one soon. */
const EXHAUSTED = new Set(['ports-exhausted', 'pool-exhausted', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ECOOLDOWN']);

/** A connect, and a name's lookup. */
const TIMED_OUT = new Set(['ETIMEDOUT', 'ETIMEOUT']);

/** Of several addresses that were attempted each has an error of its own, and one that can be mended is enough. */
const allOf = (error) => [error, ...(error.errors ?? [])];

export const isExhaustion = (error) =>
  allOf(error).some(({ code, reason }) => EXHAUSTED.has(reason) || EXHAUSTED.has(code));

/** The destinations that the error is about, of those that were attempted. */
export const exhaustedBy = (error) => allOf(error).filter((each) => each.address !== undefined && isExhaustion(each));

export const denied = (host) =>
  Object.assign(new Error(`${host} is not to be reached through this proxy`), { code: 'EDENIED' });

export const resting = (host, port) =>
  Object.assign(new Error(`no source port was free for ${host}:${port} a moment ago`), { code: 'ECOOLDOWN' });

export const timedOut = (message) => Object.assign(new Error(message), { code: 'ETIMEDOUT' });

/** The status of the answer, and its text, which tells nothing of this machine's addresses. */
export function answerTo(error) {
  if (isExhaustion(error)) return { status: 503, text: 'no source port is free for this destination' };
  if (error.code === 'EDENIED') return { status: 403, text: 'this destination is not allowed' };
  if (allOf(error).some(({ code }) => TIMED_OUT.has(code)))
    return { status: 504, text: 'the destination does not answer' };
  return { status: 502, text: `the destination cannot be reached (${error.code ?? 'unknown'})` };
}
