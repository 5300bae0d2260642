// What does it cost to be told that no port is left? UDP: where the caller has them all, and where somebody else has.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { withParent } from '../lib/processes.mjs';
import { Holder, measureRefusal, PORTS, refusalTasks } from '../lib/refusal.mjs';
import { transports } from '../lib/transports.mjs';

const program = fileURLToPath(new URL('../lib/udp-holder.mjs', import.meta.url));

/** Beside the party, in its namespace, with the same ends: of the party's own setting. */
function startHolder(count) {
  const [file, ...args] = withParent([process.execPath, program, process.argv[2], `${count}`]);
  return new Holder(spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })).ready();
}

export const tasks = refusalTasks(transports.udp, startHolder);

export const title = `udp-refusal: all of ${PORTS} UDP ports taken towards the destination`;

export function run(options) {
  return measureRefusal(options, {
    tasks: 'udp-refusal',
    peers: ['dgram, bind + connect', "the article's algorithm", 'connectUdp', 'connectUdpSync'],
    holders: ['itself', 'another process'],
    targets: (where, { peer, known, inVain }) =>
      peer.startsWith('connectUdp')
        ? [
            { what: `${where}: ${peer}, microseconds until refused, once known, p50`, value: known.median, most: 100 },
            {
              what: `${where}: ${peer}, refused although a port was free (an answer is believed for 25 ms at most)`,
              value: inVain,
              most: 0,
            },
          ]
        : [],
  });
}
