// Started by scripts/cgroups.mjs as root of the machine, for tests that are only root of a user namespace: attaches an sk_lookup program
// (test/native/bpf.cc) to the network namespace of the process that asks for it, over the Unix socket whose path is given. A line of
// JSON, [pid, fd of a UDP socket of IPv4, fd of one of IPv6], is answered with 0 or -errno; the end of the connection detaches it.
import { closeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { root } from './lib.mjs';

const bpf = createRequire(import.meta.url)(join(root, 'test/native/build/Release/bpf.node'));

createServer((socket) => {
  const attached = [];
  socket.on('error', () => {});
  createInterface({ input: socket }).on('line', (line) => {
    const outcome = bpf.skLookup(...JSON.parse(line));
    if (outcome > 0) attached.push(outcome);
    socket.write(`${Math.min(outcome, 0)}\n`);
  });
  socket.on('close', () => {
    for (const fd of attached) closeSync(fd);
  });
}).listen(process.argv[2]);
// Whoever has started it has ended.
process.stdin.resume().on('close', () => process.exit());
