// Headers that are for one hop only do not go on to the next (RFC 9110, section 7.6.1).

const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];

/**
 * The header lines that go on, [name, value, name, value ...] as in `rawHeaders`: in their order and spelling, repeated ones
 * too. `more` comes last, and in the place of lines of the same name.
 */
export function endToEnd({ rawHeaders, headers, httpVersion }, more = {}) {
  const named = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  const dropped = new Set([...HOP_BY_HOP, ...named, ...Object.keys(more).map((name) => name.toLowerCase())]);
  // `Connection: content-length` does not take the length away (RFC 9110, section 7.6.1: it is for all recipients): a body without
  // it would be the next request to the server. Beside a transfer coding it counts for nothing (RFC 9112, section 6.3).
  if (!('content-length' in more) && !('transfer-encoding' in headers)) dropped.delete('content-length');
  else dropped.add('content-length');
  const lines = [];
  for (let n = 0; n < rawHeaders.length; n += 2) {
    if (!dropped.has(rawHeaders[n].toLowerCase())) lines.push(rawHeaders[n], rawHeaders[n + 1]);
  }
  // RFC 9110, section 7.6.3: a proxy must name itself.
  return [...lines, ...Object.entries(more).flat(), 'Via', `${httpVersion} forward-proxy`];
}

/** Whether the request says that a body follows it, and how long it is. */
export const hasBody = ({ headers }) => 'content-length' in headers || 'transfer-encoding' in headers;

/**
 * What is wrong with how the body is framed, as an answer; undefined if nothing is. Two readers must not take it for two lengths,
 * or the rest of the one is the next request of the other (RFC 9112, section 11.2). Node's parser refuses most of this itself.
 */
export function framingFault({ method, headers, httpVersion }) {
  const coding = headers['transfer-encoding'];
  // RFC 9110, section 9.3.6: CONNECT has no content.
  if (method === 'CONNECT' && hasBody({ headers })) return { status: 400, text: 'CONNECT has no body' };
  if (coding === undefined) return undefined;
  // RFC 9112, section 6.1: both, or a transfer coding from a client of HTTP/1.0, is faulty.
  if ('content-length' in headers || httpVersion !== '1.1') return { status: 400, text: 'two lengths of one body' };
  // RFC 9112, section 6.1: what is not understood is 501.
  return /^chunked$/i.test(coding) ? undefined : { status: 501, text: 'this transfer coding is not known here' };
}
