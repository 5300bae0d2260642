// One of the client processes: opens its flows, has them answered, says which 4-tuples it holds, and closes them, each when it is
// told to over IPC.
//
//   node client.mjs '{ "technique": "connectUdp", "client": 0, "flows": 19608, "source": ..., "remotes": [...], ... }'
import { Echoes } from './echoes.mjs';
import { destinationOf } from './plan.mjs';
import { techniques } from './techniques.mjs';
import { TupleSet } from './tuples.mjs';

const {
  technique: name,
  client,
  flows: wanted,
  source,
  family,
  remotes,
  nonce,
  window,
  errorLimit,
} = JSON.parse(process.argv[2]);
const technique = techniques[name];
const open = technique.prepare({ source, family });

const TELL_MS = 250;
/** So many in a row, and the event loop gets a turn. */
const IN_A_ROW = 32;

const sockets = [];
/** The destination of each socket. */
const destinations = [];
/** By code, since they were last told. */
let errors = {};
let failures = 0;
let next = 0;
let stopped = false;
let closed = 0;
let echoes;

function failed(error) {
  const what = error.reason === undefined ? error.code : `${error.code} ${error.reason}`;
  errors[what] = (errors[what] ?? 0) + 1;
  failures++;
  if (failures >= errorLimit) stopped = true;
}

async function lane() {
  for (let turn = 0; !stopped && next < wanted; turn++) {
    const destination = destinationOf(client, next++, remotes.length);
    try {
      const socket = await open(remotes[destination]);
      const index = sockets.push(socket) - 1;
      destinations.push(destination);
      technique.listen(socket, (bytes) => echoes.hear(index, bytes));
      socket.on('error', failed);
    } catch (error) {
      failed(error);
    }
    if (turn % IN_A_ROW === 0) await new Promise(setImmediate);
  }
}

const tasks = {
  async open() {
    await Promise.all(Array.from({ length: technique.concurrency }, lane));
    return { open: sockets.length };
  },
  async echo() {
    echoes = new Echoes({ flows: sockets, technique, nonce: Buffer.from(nonce, 'hex'), client, window });
    const answers = await echoes.run();
    const silent = echoes.missing.map((index) => ({
      local: technique.localEnd(sockets[index]),
      remote: remotes[destinations[index]],
    }));
    return { ...answers, silent };
  },
  /** What each socket says of itself. */
  tuples() {
    const tuples = new TupleSet(remotes.length);
    let twice = 0;
    let otherSource = 0;
    for (const [index, socket] of sockets.entries()) {
      const { address, port } = technique.localEnd(socket);
      if (address !== source) otherSource++;
      if (!tuples.add(destinations[index], port)) twice++;
    }
    return { bytes: Buffer.from(tuples.bytes), twice, otherSource };
  },
  async close() {
    for (const [index, socket] of sockets.entries()) {
      // One that has ended by itself has said so (an error); it has no other 'close' to wait for.
      if (!socket.closed) socket.once('close', () => closed++);
      else closed++;
      if (!socket.closed) technique.close(socket);
      if (index % IN_A_ROW === 0) await new Promise(setImmediate);
    }
    while (closed < sockets.length) await new Promise(setImmediate);
    return { closed };
  },
};

let due = performance.now() + TELL_MS;
setInterval(() => {
  const now = performance.now();
  const answered = echoes?.answered ?? 0;
  process.send({ open: sockets.length - closed, answered, late: Math.max(0, now - due) });
  due = now + TELL_MS;
}, TELL_MS).unref();

process.on('message', async ({ task }) => {
  if (task === 'stop') {
    stopped = true;
    return;
  }
  const value = await tasks[task]();
  process.send({
    done: task,
    value: { ...value, errors },
    open: sockets.length - closed,
    answered: echoes?.answered ?? 0,
  });
  errors = {};
});
process.once('disconnect', () => process.exit());
process.send({ done: 'start' });
