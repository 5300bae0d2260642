// A connection to the destination, from one of the tenant's source addresses.
import * as net from 'node:net';
import { connect } from 'connectx';
import { denied, exhaustedBy, resting, timedOut } from './failures.mjs';

/** `options` as for net.connect; what fails is an 'error' event. `shared`: { destinations, names, timeouts }. */
export function openUpstream(tenant, { host, port, session, timeout, allowHalfOpen }, shared) {
  const judge = (address) => {
    if (shared.destinations.isDenied(address)) return denied(host);
    return tenant.cooldown.has(address, port) ? resting(host, port) : undefined;
  };
  // A numeric host is not looked up.
  const refusal = net.isIP(host) === 0 ? undefined : judge(host);
  if (refusal !== undefined) return failed(refusal);

  const socket = connect({
    host,
    port: Number(port),
    localAddress: tenant.sources.for(session),
    lookup: lookupOf(judge, shared.names),
    noDelay: true,
    ...(allowHalfOpen && { allowHalfOpen }),
    ...(timeout && { timeout }),
  });
  // The name's lookup and all addresses together; core's own timeout is for each of them.
  const timer = setTimeout(
    () => socket.destroy(timedOut(`no connection to ${host}:${port} in time`)),
    shared.timeouts.connect,
  );
  for (const event of ['connect', 'close']) socket.once(event, () => clearTimeout(timer));
  socket.once('connect', () => {
    const { remoteAddress } = socket;
    socket.once('close', () => tenant.cooldown.end(remoteAddress, port));
  });
  socket.on('error', (error) => {
    for (const { address } of exhaustedBy(error)) tenant.cooldown.start(address, port);
  });
  return socket;
}

/** A socket that fails as one does whose name cannot be resolved. */
const failed = (error) =>
  net.connect({ host: 'refused', port: 1, lookup: (_host, _options, done) => setImmediate(done, error) });

/** A `lookup` for connect() that leaves out the addresses that are refused. */
function lookupOf(judge, names) {
  return (host, options, callback) => {
    names.lookup(host, { ...options, all: true }, (error, found) => {
      if (error) return callback(error);
      const refusals = found.map(({ address }) => judge(address));
      const allowed = found.filter((_, index) => refusals[index] === undefined);
      if (allowed.length === 0) return callback(refusals[0]);
      if (options.all) return callback(null, allowed);
      return callback(null, allowed[0].address, allowed[0].family);
    });
  };
}
