// The settings, checked, with their defaults. README.md says what each of them means.
import { BlockList, isIP } from 'node:net';
import { fail, integer, numbers, object, only, port, readSettings, string, strings } from '../shared/settings.mjs';

const KEYS = ['listen', 'tenants', 'limits', 'timeouts', 'retryAfter', 'logInterval', 'deny'];

/** What only this machine or this link can reach is nobody's business who comes in by the proxy. */
const DENY = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/127', 'fe80::/10', 'ff00::/8'];

export function readConfig(file) {
  const given = readSettings(file);
  only(given, 'config', KEYS);
  const listen = object(given.listen, 'listen');
  only(listen, 'listen', ['host', 'port']);
  const limits = numbers(given.limits, 'limits', {
    connections: 20_000,
    connectionsPerTenant: 10_000,
    headerBytes: 16_384,
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
      shutdown: 30_000,
    }),
    retryAfter: integer(given.retryAfter ?? 5, 'retryAfter', 1, 86_400),
    logInterval: integer(given.logInterval ?? 10_000, 'logInterval', 1, 0x7fffffff),
    deny: readDeny(strings(given.deny ?? DENY, 'deny')),
  };
}

function readTenants(tenants, defaultConnections) {
  return Object.entries(tenants).map(([name, tenant]) => {
    const at = `tenants.${name}`;
    only(object(tenant, at), at, ['password', 'sources', 'connections']);
    // RFC 7617: the first colon ends the user name.
    if (name.includes(':')) fail(at, 'must not have a colon in its name');
    const sources = strings(tenant.sources, `${at}.sources`);
    if (sources.length === 0) fail(`${at}.sources`, 'must have an address');
    return {
      name,
      password: string(tenant.password, `${at}.password`),
      sources,
      connections: integer(tenant.connections ?? defaultConnections, `${at}.connections`, 1, 0x7fffffff),
    };
  });
}

function readDeny(blocks) {
  const list = new BlockList();
  for (const block of blocks) {
    const [address, prefix] = block.split('/');
    const family = isIP(address);
    const bits = family === 6 ? 128 : 32;
    if (family === 0) fail('deny', `has ${block}, which is no address or CIDR block`);
    const length = integer(Number(prefix ?? bits), `the prefix of ${block} in deny`, 0, bits);
    list.addSubnet(address, length, family === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}
