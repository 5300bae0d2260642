// What a client is told when its upstream connection fails.

/** This machine has no port, or no descriptor, left for it; it may have one soon. */
const EXHAUSTED = new Set(['ports-exhausted', 'pool-exhausted', 'EMFILE', 'ENFILE', 'ENOBUFS']);

/** Of several addresses that were attempted each has an error of its own, and one that can be mended is enough. */
const allOf = (error) => [error, ...(error.errors ?? [])];

export const isExhaustion = (error) =>
  allOf(error).some(({ code, reason }) => EXHAUSTED.has(reason) || EXHAUSTED.has(code));

export const DENIED = { status: 403, text: 'this destination is not allowed' };

/** The status of the answer, and its text, which tells nothing of this machine's addresses. */
export function answerTo(error) {
  if (isExhaustion(error)) return { status: 503, text: 'no source port is free for this destination' };
  if (error.code === 'EDENIED') return DENIED;
  if (allOf(error).some(({ code }) => code === 'ETIMEDOUT'))
    return { status: 504, text: 'the destination does not answer' };
  return { status: 502, text: `the destination cannot be reached (${error.code ?? 'unknown'})` };
}
