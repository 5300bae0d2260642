// The settings, checked, with their defaults. README.md says what each of them means.
import {
  blocks,
  boolean,
  fail,
  integer,
  numbers,
  object,
  only,
  port,
  readSettings,
  string,
  strings,
} from '../shared/settings.mjs';

/** Loopback and private networks: a relay that answers everybody can be made to send to anybody. */
const CLIENTS = ['127.0.0.0/8', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '::1', 'fc00::/7', 'fe80::/10'];

export function readConfig(file) {
  const given = readSettings(file);
  only(given, 'config', ['routes', 'sources', 'clients', 'resolvers', 'limits', 'timeouts', 'logInterval']);
  if (!Array.isArray(given.routes) || given.routes.length === 0) fail('routes', 'must be a list that is not empty');
  return {
    routes: given.routes.map(readRoute),
    sources: strings(given.sources, 'sources'),
    clients: blocks(given.clients ?? CLIENTS, 'clients'),
    resolvers: strings(given.resolvers ?? [], 'resolvers'),
    limits: numbers(given.limits, 'limits', {
      flows: 10_000,
      flowsPerClient: 100,
      opening: 128,
      resting: 10_000,
      amplification: 1,
      queueDatagrams: 64,
      queueBytes: 262_144,
    }),
    timeouts: numbers(given.timeouts, 'timeouts', {
      idle: 60_000,
      rest: 5_000,
      lookup: 5_000,
      move: 300,
      quiet: 1_000,
      shutdown: 5_000,
      cooldown: 1_000,
      stats: 60_000,
    }),
    logInterval: integer(given.logInterval ?? 10_000, 'logInterval', 1, 0x7fffffff),
  };
}

function readRoute(route, index) {
  const at = `routes[${index}]`;
  only(object(route, at), at, ['listen', 'upstream', 'quic']);
  const { listen, upstream, quic = false } = route;
  return {
    listen: readEnd(listen, `${at}.listen`),
    upstream: readEnd(upstream, `${at}.upstream`),
    quic: boolean(quic, `${at}.quic`),
  };
}

function readEnd(end, name) {
  only(object(end, name), name, ['host', 'port']);
  return { host: string(end.host, `${name}.host`), port: port(end.port, `${name}.port`) };
}
