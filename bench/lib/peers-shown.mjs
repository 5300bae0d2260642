// The peers that the pages show, out of all that a run measures: as code in a page, by name in a chart, and their colours there.

export const TCP = {
  'net.connect, localAddress': {
    code: '`net.connect({ localAddress })`',
    name: 'net.connect({ localAddress })',
    colour: '#c4261d',
  },
  'net.connect': {
    code: '`net.connect`, no source address',
    name: 'net.connect, no source address',
    colour: '#e8871e',
  },
  'C, localAddress': {
    code: 'in C: `IP_BIND_ADDRESS_NO_PORT`, bind, connect',
    name: 'in C: IP_BIND_ADDRESS_NO_PORT, bind, connect',
    colour: '#6b6b6b',
  },
  'connectx, localAddress': {
    code: 'connectx, `connect({ localAddress })`',
    name: 'connectx, connect({ localAddress })',
    colour: '#0b7a3e',
  },
};

export const UDP = {
  'dgram, bind + connect': { code: '`dgram`, bind and connect', name: 'dgram, bind and connect', colour: '#c4261d' },
  "the article's algorithm": {
    code: 'the algorithm of the reference',
    name: 'the algorithm of the reference',
    colour: '#1f6fb4',
  },
  connectUdp: { code: 'connectx, `connectUdp`', name: 'connectx, connectUdp', colour: '#0b7a3e' },
};
