// The process of a party: sets its namespace up, starts its listener, and does what it is told over IPC.
import { ends } from './ends.mjs';
import { floorTasks, isFloor } from './floor.mjs';
import { getSysctl, setSysctl } from './namespace.mjs';
import { peers } from './peers.mjs';
import { Server } from './server.mjs';

const setting = JSON.parse(process.argv[2]);
const { family, floor, peer, range, tasks } = setting;

setSysctl('core.somaxconn', 65535);
setSysctl('ipv4.tcp_max_syn_backlog', 65535);
if (range !== undefined) setSysctl('ipv4.ip_local_port_range', range.join(' '));

const target = ends[family];
const server = await Server.start(target.remote);
process.once('exit', () => server.stop());

const context = isFloor(peer) ? undefined : { server, connect: peers[peer]({ ...setting, ...target }) };
const handlers = isFloor(peer)
  ? floorTasks(floor, peer, { ...target, range: getSysctl('ipv4.ip_local_port_range').split(' ') }, (connections) =>
      server.drain(connections),
    )
  : (await import(new URL(`../cases/${tasks}.mjs`, import.meta.url))).tasks;

process.on('message', async ({ name, argument }) => {
  try {
    process.send({ value: await handlers[name](context, argument) });
  } catch (error) {
    process.send({ error: error.stack });
  }
});
process.once('disconnect', () => process.exit());
process.send({});
