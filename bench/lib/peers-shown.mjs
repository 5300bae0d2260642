// The peers that the pages show, out of all that a run measures: as code in a page, by name in a chart, and their colours there.

export const TCP = {
  'net.connect, localAddress': {
    code: '`net.connect({ localAddress })`',
    name: 'net.connect({ localAddress })',
    colour: 'red',
  },
  'net.connect': {
    code: '`net.connect`, no source address',
    name: 'net.connect, no source address',
    colour: 'orange',
  },
  'C, localAddress': {
    code: 'in C: `IP_BIND_ADDRESS_NO_PORT`, bind, connect',
    name: 'in C: IP_BIND_ADDRESS_NO_PORT, bind, connect',
    colour: 'grey',
  },
  'connectx, localAddress': {
    code: 'connectx, `connect({ localAddress })`',
    name: 'connectx, connect({ localAddress })',
    colour: 'green',
  },
};

export const UDP = {
  'dgram, bind + connect': { code: '`dgram`, bind and connect', name: 'dgram, bind and connect', colour: 'red' },
  "the article's algorithm": {
    code: "Cloudflare's algorithm of 2022",
    name: "Cloudflare's algorithm of 2022",
    colour: 'blue',
  },
  connectUdp: { code: 'connectx, `connectUdp`', name: 'connectx, connectUdp', colour: 'green' },
};
