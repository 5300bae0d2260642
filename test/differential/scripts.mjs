// Random connects, made of a seed: options, and what is done to the socket when. What a script is made of can be had from core and connectx alike.

/** mulberry32: the same numbers for the same seed. */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Addresses by what becomes of a connect to them; see network() in run.mjs. */
export const ADDRESSES = {
  answers4: '127.0.0.1',
  answers6: '::1',
  unreachable4: '203.0.113.1',
  unreachable6: '2001:db8:2::1',
  silent4: '192.0.2.9',
  unspecified4: '0.0.0.0',
};
const KINDS = Object.keys(ADDRESSES);

/** When something is done: after an event, or without one. */
const MOMENTS = [
  'call',
  'tick',
  'immediate',
  'soon',
  'lookup',
  'connectionAttemptFailed',
  'connectionAttemptTimeout',
  'connect',
  'ready',
  'data',
  'end',
  'error',
];
const DEEDS = [
  'destroy',
  'destroyWith',
  'abort',
  'end',
  'write',
  'reset',
  'pause',
  'removeAllListeners',
  'destroySoon',
  'setTimeout',
  'unref',
  'connectAgain',
];

const LOOKUPS = ['later', 'later', 'tick', 'now', 'fails', 'nothing', 'throws'];

/** The script of this seed. */
export function scriptOf(seed) {
  const random = randomFrom(seed);
  const one = (list) => list[Math.floor(random() * list.length)];
  const maybe = (chance, value) => (random() < chance ? value() : undefined);
  const isNamed = random() < 0.55;
  const addresses = isNamed ? Array.from({ length: 1 + Math.floor(random() * 4) }, () => one(KINDS)) : [one(KINDS)];
  const source = one(['none', 'none', 'pinned', 'function', 'pool']);
  const asks = source === 'function' || source === 'pool';
  const inSource = asks
    ? maybe(0.3, () => one(['destroy', 'destroyWith', 'abort', 'throw', 'end', 'nothing']))
    : undefined;
  return {
    seed,
    isNamed,
    addresses,
    port: one(['listening', 'listening', 'listening', 'closed']),
    lookup: isNamed ? one(inSource === undefined ? LOOKUPS : ['later', 'tick', 'now']) : undefined,
    server: one(['echo', 'closes', 'resets', 'speaks', 'mute']),
    options: withoutUndefined({
      autoSelectFamily: maybe(0.6, () => random() < 0.7),
      autoSelectFamilyAttemptTimeout: maybe(0.7, () => 10 + Math.floor(random() * 30)),
      family: maybe(0.2, () => one([0, 4, 6])),
      noDelay: maybe(0.3, () => random() < 0.5),
      keepAlive: maybe(0.2, () => true),
      allowHalfOpen: maybe(0.3, () => random() < 0.5),
      timeout: maybe(0.15, () => 20),
    }),
    signal: maybe(0.3, () => one(['fresh', 'fresh', 'aborted'])),
    how: one(['connect', 'connect', 'new Socket', 'new Socket, options']),
    source,
    // Within the source function or the strategy, of which core has none: then it only counts that all ends well.
    // What core itself does not survive (a lookup that finds nothing, a destroy() in 'connectionAttemptFailed') is left out then.
    inSource,
    deeds: Array.from({ length: inSource === undefined ? Math.floor(random() * 4) : 0 }, () => ({
      at: one(MOMENTS),
      does: one(DEEDS),
    })),
  };
}

function withoutUndefined(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
