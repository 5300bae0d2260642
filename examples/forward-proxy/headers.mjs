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
  const lines = [];
  for (let n = 0; n < rawHeaders.length; n += 2) {
    if (!dropped.has(rawHeaders[n].toLowerCase())) lines.push(rawHeaders[n], rawHeaders[n + 1]);
  }
  // RFC 9110, section 7.6.3: a proxy must name itself.
  return [...lines, ...Object.entries(more).flat(), 'Via', `${httpVersion} forward-proxy`];
}
