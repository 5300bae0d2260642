// What a request asks for (RFC 9112, section 3.2).

/** host:port of a CONNECT request; undefined if it is none. */
export function connectTarget(url) {
  const [, host, port] = /^(\[[\da-f:.]+\]|[^\s:@/?#[\]]+):(\d{1,5})$/i.exec(url) ?? [];
  return host === undefined || Number(port) < 1 || Number(port) > 65535
    ? undefined
    : { host: withoutBrackets(host), port: Number(port) };
}

/**
 * An absolute URL of any other request; undefined if it is none, or not of http. The path is passed on as it came: a proxy must
 * not change it (RFC 9110, section 7.7).
 */
export function absoluteTarget(url, method) {
  const [, authority, path] = /^http:\/\/([^/?#@]+)([/?][^#]*)?$/i.exec(url) ?? [];
  if (authority === undefined || !URL.canParse(`http://${authority}`)) return undefined;
  const { host: name, hostname, port } = new URL(`http://${authority}`);
  if (port === '0') return undefined;
  // OPTIONS of a server as a whole has no path.
  const empty = method === 'OPTIONS' ? '*' : '/';
  return {
    name,
    host: withoutBrackets(hostname),
    port: Number(port || 80),
    path: path === undefined ? empty : path.replace(/^\?/, '/?'),
  };
}

const withoutBrackets = (host) => host.replace(/^\[|\]$/g, '');
