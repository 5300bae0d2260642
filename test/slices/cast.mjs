// The addresses of test/slices/run.mjs.

/** Where the destination listens. */
export const PORT = 443;

const casts = {
  4: {
    family: 4,
    bits: 32,
    nodad: '',
    any: '0.0.0.0',
    /** The address that the hosts share. */
    shared: '192.0.2.7',
    /** The router, as each host sees it. */
    link: '169.254.0.1',
    /** The destination, and the router as it sees it. */
    server: '198.51.100.2',
    gateway: '198.51.100.1',
    prefix: 24,
  },
  6: {
    family: 6,
    bits: 128,
    nodad: 'nodad',
    any: '::',
    shared: '2001:db8:7::7',
    link: 'fe80::1',
    server: '2001:db8:1::2',
    gateway: '2001:db8:1::1',
    prefix: 64,
  },
};

export function castOf(family) {
  return casts[family];
}
