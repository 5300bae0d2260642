// With which options the next flow is opened. All that comes of it is chosen by chance.
import { SourcePool } from 'connectx';
import { CLOSED, DEVICE_SOURCES, FAMILIES, HIGH, LOW, SERVER } from './network.mjs';

const POOLS = new Map(
  FAMILIES.map(({ family, sources }) => [family, new SourcePool(sources, { strategy: 'least-used', cooldown: 200 })]),
);

/** A name for both families, answered later, as a resolver does. */
const lookup = (host, options, callback) => {
  const all = FAMILIES.map(({ family, remotes }) => ({ address: remotes[0], family }));
  const wanted = options.family ? all.filter(({ family }) => family === options.family) : all;
  setTimeout(() => {
    if (options.all) callback(null, wanted);
    else callback(null, wanted[0].address, wanted[0].family);
  }, 1);
};

const both = Object.fromEntries(FAMILIES.map(({ family, sources }) => [`ipv${family}`, sources[0]]));

/** Options that TCP and UDP have in common. */
export function common(chance) {
  const { family, sources, remotes } = chance.of(FAMILIES);
  const localAddress = chance.of(sources);
  const base = { host: chance.of(remotes), port: SERVER };
  switch (chance.below(20)) {
    case 0:
      return base;
    case 1:
    case 2:
      return { ...base, localAddress, localPort: chance.between(LOW, HIGH) };
    case 3:
      return { ...base, localPort: chance.between(LOW, HIGH) };
    case 4: {
      const low = chance.between(LOW, HIGH - 8);
      return { ...base, localAddress, localPortRange: [low, low + 8] };
    }
    case 5:
      return { ...base, localAddress: ({ family }) => both[`ipv${family}`] };
    case 6:
    case 7:
    case 8:
      return { ...base, localAddress: POOLS.get(family) };
    case 9:
      return { ...base, host: 'both.test', lookup, localAddress: both };
    case 10:
      return { ...base, interface: 'lo', localAddress };
    default:
      return { ...base, localAddress };
  }
}

export function ofTcp(chance) {
  const options = common(chance);
  if (options.interface !== undefined) options.localAddress = DEVICE_SOURCES[options.host.includes(':') ? 6 : 4];
  if (chance.is(0.02)) options.port = CLOSED;
  if (chance.is(0.05)) options.reuseTimeWait = true;
  if (chance.is(0.1)) options.timeout = chance.between(1, 2000);
  return options;
}

export function ofUdp(chance) {
  const options = common(chance);
  if (chance.is(0.02)) options.exclusive = true;
  return options;
}

/** As a program does it that does not know of connectx. */
export function plainly(chance) {
  const { type, sources, remotes } = chance.of(FAMILIES);
  const options = { host: chance.of(remotes), port: SERVER, type };
  if (chance.is(0.5)) options.localAddress = chance.of(sources);
  return options;
}

/** Calls `abort` in some phase of what has just begun; often not at all. */
export function perhapsAbort(chance, abort) {
  if (!chance.is(0.1)) return;
  const phases = [
    abort,
    () => process.nextTick(abort),
    () => setImmediate(abort),
    () => setTimeout(abort, chance.between(1, 20)),
  ];
  chance.of(phases)();
}
