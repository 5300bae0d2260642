// The settings, checked, with their defaults. README.md says what each of them means.
import { fail, integer, numbers, object, only, port, readSettings, string, strings } from '../shared/settings.mjs';

export function readConfig(file) {
  const given = readSettings(file);
  only(given, 'config', ['routes', 'sources', 'limits', 'timeouts', 'logInterval']);
  if (!Array.isArray(given.routes) || given.routes.length === 0) fail('routes', 'must be a list that is not empty');
  return {
    routes: given.routes.map(readRoute),
    sources: strings(given.sources, 'sources'),
    limits: numbers(given.limits, 'limits', {
      flows: 10_000,
      flowsPerClient: 100,
      queueDatagrams: 64,
      queueBytes: 262_144,
    }),
    timeouts: numbers(given.timeouts, 'timeouts', {
      idle: 60_000,
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
  only(object(route, at), at, ['listen', 'upstream']);
  return { listen: readEnd(route.listen, `${at}.listen`), upstream: readEnd(route.upstream, `${at}.upstream`) };
}

function readEnd(end, name) {
  only(object(end, name), name, ['host', 'port']);
  return { host: string(end.host, `${name}.host`), port: port(end.port, `${name}.port`) };
}
