// The two ends, by family: one source address, and as many destinations as it takes. Their ports lie below every range in use, so
// that no local port is lost to a listener.
const PORTS = { udp: 53, tcp: 80 };

/** At most 250 of them. */
export function endsOf(protocol, family, destinations) {
  const port = PORTS[protocol];
  const hosts = Array.from({ length: destinations }, (_, index) => hostOf(family, index));
  return { source: family === 6 ? '2001:db8::7' : '192.0.2.7', remotes: hosts.map((host) => ({ host, port })) };
}

function hostOf(family, index) {
  if (index >= 250) throw new RangeError('there are no more than 250 destinations');
  return family === 6 ? `2001:db8:1::${(index + 1).toString(16)}` : `198.51.100.${index + 1}`;
}

/** What has to be on the interface for these ends. */
export function addressesOf({ source, remotes }) {
  return [source, ...remotes.map(({ host }) => host)].map((ip) => (ip.includes(':') ? `${ip}/128` : `${ip}/32`));
}
