// Another process: so many servers on the wildcard address, and as many flows, each to a destination of its own.
//
//   node limit-crowd.mjs SETTING COUNT
import * as dgram from 'node:dgram';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { checkout } = JSON.parse(process.argv[2]);
const count = Number(process.argv[3]);
const { connectUdpSync } = createRequire(join(checkout, 'package.json'))('./dist/index.js');

const servers = Array.from({ length: count }, (_, n) => dgram.createSocket('udp4').bind(33_000 + n, '0.0.0.0'));
await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))));
const flows = servers.map((_, n) =>
  connectUdpSync({
    host: `127.1.${n >> 8}.${n & 255}`,
    port: 53,
    localAddress: '127.0.0.2',
    localPort: 60_000 + (n % 999),
  }),
);
process.send(flows.length);
