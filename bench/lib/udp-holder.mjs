// Another process that holds UDP ports towards the destination of a party, for the refusals of that party.
//
//   node udp-holder.mjs SETTING COUNT
//
// On standard output a line when they are held. On standard input, a line: give one back; a line says when that is done.
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { ends } from './ends.mjs';
import { peers } from './peers.mjs';

const { checkout, family } = JSON.parse(process.argv[2]);
const open = peers.connectUdpSync({ ...ends[family], checkout, family });
const sockets = Array.from({ length: Number(process.argv[3]) }, open);
console.log('held');
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== 'release') throw new Error(line);
  const socket = sockets.pop();
  socket.close();
  await once(socket, 'close');
  console.log('released');
}
process.exit();
