// The two ends of the connections, by family. The remote port lies outside of every range in use, so that no connection meets
// itself, and the source is not the address that the kernel would take.
export const ends = {
  4: {
    remote: { host: '127.0.0.1', port: 4000 },
    source: '127.0.0.2',
    addresses: [],
  },
  6: {
    remote: { host: '2001:db8::1', port: 4000 },
    source: '2001:db8::2',
    addresses: ['2001:db8::1/128', '2001:db8::2/128'],
  },
};
