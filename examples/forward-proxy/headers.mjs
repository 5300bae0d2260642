// Headers that are for one hop only do not go on to the next (RFC 9110, section 7.6.1).

const HOP_BY_HOP = [
  'connection',
  // Said anew for each hop: see framing().
  'content-length',
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
 * too. `first` comes before them, and in the place of lines of the same name.
 */
export function endToEnd({ rawHeaders, headers, httpVersion }, first) {
  const named = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  const dropped = new Set([...HOP_BY_HOP, ...named, ...Object.keys(first).map((name) => name.toLowerCase())]);
  const lines = Object.entries(first).flat();
  for (let n = 0; n < rawHeaders.length; n += 2) {
    if (!dropped.has(rawHeaders[n].toLowerCase())) lines.push(rawHeaders[n], rawHeaders[n + 1]);
  }
  // RFC 9110, section 7.6.3: a proxy must name itself.
  return [...lines, 'Via', `${httpVersion} forward-proxy`];
}

/**
 * How long the body is, as the parser has understood it. It is never left out, whatever `Connection` nominates (RFC 9110, section
 * 7.6.1: not what is for all recipients): a body without it would be the next request to the server. A transfer coding comes
 * before a length (RFC 9112, section 6.3), and also with methods for which core expects no body.
 */
export function framing({ headers }) {
  if ('transfer-encoding' in headers) return { 'Transfer-Encoding': 'chunked' };
  return 'content-length' in headers ? { 'Content-Length': headers['content-length'] } : {};
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
