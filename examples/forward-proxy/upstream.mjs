// A connection to the destination, from one of the tenant's source addresses.
import { connect } from 'connectx';
import { lookupWithout } from './destinations.mjs';

/** `options` as for net.connect; what fails is an 'error' event. */
export function openUpstream({ source }, { host, port, timeout, allowHalfOpen }, { deny, timeouts }) {
  const socket = connect({
    host,
    port: Number(port),
    localAddress: source,
    lookup: lookupWithout(deny),
    noDelay: true,
    ...(allowHalfOpen && { allowHalfOpen }),
    ...(timeout && { timeout }),
  });
  // The name's lookup and all addresses together; core's own timeout is for each of them.
  const timer = setTimeout(() => socket.destroy(connectTimeout(host, port)), timeouts.connect);
  for (const event of ['connect', 'close']) socket.once(event, () => clearTimeout(timer));
  return socket;
}

const connectTimeout = (host, port) =>
  Object.assign(new Error(`no connection to ${host}:${port} in time`), { code: 'ETIMEDOUT' });
