// The settings, checked, with their defaults. README.md says what each of them means.
import {
  blocks,
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

const KEYS = ['listen', 'tenants', 'limits', 'timeouts', 'retryAfter', 'logInterval', 'allow', 'deny', 'resolvers'];

export function readConfig(file) {
  const given = readSettings(file);
  only(given, 'config', KEYS);
  const listen = object(given.listen, 'listen');
  only(listen, 'listen', ['host', 'port']);
  const limits = numbers(given.limits, 'limits', {
    connections: 20_000,
    connectionsPerTenant: 10_000,
    headerBytes: 16_384,
    failedLogins: 10,
  });
  return {
    listen: { host: string(listen.host, 'listen.host'), port: port(listen.port, 'listen.port') },
    tenants: readTenants(object(given.tenants, 'tenants'), limits.connectionsPerTenant),
    limits,
    timeouts: numbers(given.timeouts, 'timeouts', {
      headers: 10_000,
      connect: 10_000,
      idle: 120_000,
      keepAlive: 5_000,
      refused: 5_000,
      failedLogin: 1_000,
      cooldown: 1_000,
      rest: 60_000,
      shutdown: 30_000,
    }),
    retryAfter: integer(given.retryAfter ?? 5, 'retryAfter', 1, 86_400),
    logInterval: integer(given.logInterval ?? 10_000, 'logInterval', 1, 0x7fffffff),
    allow: blocks(given.allow ?? [], 'allow'),
    deny: blocks(given.deny ?? [], 'deny'),
    resolvers: strings(given.resolvers ?? [], 'resolvers'),
  };
}

function readTenants(tenants, defaultConnections) {
  return Object.entries(tenants).map(([name, tenant]) => {
    const at = `tenants.${name}`;
    only(object(tenant, at), at, ['password', 'sources', 'connections', 'restOn']);
    // RFC 7617: the first colon ends the user name.
    if (name.includes(':')) fail(at, 'must not have a colon in its name');
    if (name.includes('+')) fail(at, 'must not have a + in its name, which begins a session');
    const sources = strings(tenant.sources, `${at}.sources`);
    blocks(sources, `${at}.sources`);
    if (sources.length === 0) fail(`${at}.sources`, 'must have an address');
    const restOn = tenant.restOn ?? [];
    if (!Array.isArray(restOn)) fail(`${at}.restOn`, 'must be a list');
    for (const [n, status] of restOn.entries()) integer(status, `${at}.restOn[${n}]`, 400, 599);
    return {
      name,
      password: string(tenant.password, `${at}.password`),
      sources,
      restOn,
      connections: integer(tenant.connections ?? defaultConnections, `${at}.connections`, 1, 0x7fffffff),
    };
  });
}
