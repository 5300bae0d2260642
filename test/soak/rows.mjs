// What a soak has come to: one row for each thing that must hold, as scripts/lib.mjs keeps them. No I/O.
import { median } from '../../bench/lib/statistics.mjs';
import { judge } from './flat.mjs';

const MB = 2 ** 20;
/**
 * What a figure may grow by, where its own noise is less. Of a descriptor and a handle, by half of one: the slope of what is counted in
 * whole numbers. Heaps are taken after a collection; V8 gives pages back to the system when it likes to, and code that is compiled
 * later adds to both.
 */
const FLOORS = { heap: 2 * MB, rss: 8 * MB, spare: 0.5, handles: 0.5 };
const TITLES = {
  heap: 'heap of each process, flat',
  rss: 'resident set of each process, flat',
  spare: 'descriptors of each client beyond those of its sockets, flat',
  handles: 'handles of each process beyond those of its sockets, flat',
};
/**
 * What a thread keeps to ask the kernel with, from when it is first needed (native/netlink/namespace_sockets.h): for TCP, for UDP and in the background each
 * netlink sockets for connections, routes and interfaces; and a socket of each family that is never bound.
 */
const KEPT = { netlink: 9, others: 4 };
/** From when on it is exhaustion: that many of the connects of TCP, and of those of UDP, are refused because every port is taken. */
const REFUSED = 0.1;

const sum = (counts, name) => Object.values(counts).reduce((total, of) => total + (of[name] ?? 0), 0);
const percent = (share) => `${(share * 100).toFixed(0)} %`;
const show = (name, figure) =>
  name === 'heap' || name === 'rss' ? `${(figure / MB).toFixed(1)} MB` : figure.toFixed(1);

function flatRow(name, points) {
  const judged = Object.entries(points)
    .filter(([, figures]) => figures[name] !== undefined)
    .map(([process, figures]) => ({ process, ...judge(figures[name], FLOORS[name]), count: figures[name].length }));
  return {
    what: TITLES[name],
    tried: judged.reduce((total, { count }) => total + count, 0),
    failed: judged.filter(({ flat }) => !flat).length,
    detail: judged
      .map(
        ({ process, level, growth, noise }) =>
          `${process} ${show(name, level)}, ${growth < 0 ? '' : '+'}${show(name, growth)} in the second half, noise ${show(name, noise)}`,
      )
      .join('; '),
  };
}

function socketRow(samples) {
  const points = samples.map(({ time, sockets }) => [time, sockets]);
  const { level, growth, noise, flat } = judge(points, 16);
  const detail = `${level} at a time, ${growth.toFixed(1)} more at the end of the second half, noise ${noise.toFixed(1)}`;
  return { what: 'kernel sockets, flat', tried: samples.length, failed: flat ? 0 : 1, detail };
}

function endRow(ends, kinds) {
  const isOdd = ({ before, after }) => {
    const more = after.descriptors.others - before.descriptors.others;
    const sameHandles = JSON.stringify(before.handles) === JSON.stringify(after.handles);
    return !sameHandles || more < 0 || more > KEPT.others || after.descriptors.netlink > KEPT.netlink;
  };
  const odd = ends.filter(isOdd);
  return {
    what: 'descriptors and handles of a client when all of its flows have ended: those it began with, and what is kept to ask the kernel with',
    tried: ends.length,
    failed: odd.length + Math.max(0, kinds - ends.length),
    detail: odd.map(({ name, before, after }) => `${name}: ${JSON.stringify({ before, after })}`).join('; '),
  };
}

/** Of all that was found (see run.mjs): the rows. */
export function rowsOf({ counts, wrong, kills, samples, ends, flows, stale, left, points, overshadowed = 0 }) {
  const attempts = { tcp: sum(counts, 'tcp attempts'), udp: sum(counts, 'udp attempts') };
  const of = (protocol) => {
    const connected = sum(counts, `${protocol} connected`);
    const exhausted = sum(counts, `${protocol} exhausted`);
    return {
      what: `${protocol.toUpperCase()} connects`,
      tried: attempts[protocol],
      failed: wrong.filter((text) => text.includes(`: ${protocol}`)).length,
      detail: `${connected} connected, ${exhausted} (${percent(exhausted / attempts[protocol])}) refused because every port was taken`,
    };
  };
  const often = samples.filter(({ refused }) => refused.every((share) => share >= REFUSED)).length / samples.length;
  const [tcp, udp] = [0, 1].map((at) => percent(median(samples.map(({ refused }) => refused[at]))));
  const full = ['tcp', 'udp'].map((protocol) => percent(median(samples.map((sample) => sample.full[protocol]))));
  return [
    of('tcp'),
    of('udp'),
    {
      what: 'UDP flows that were overshadowed',
      tried: flows,
      failed: overshadowed,
      detail: `${stale} datagrams came after their flow had ended, to the next owner of its 4-tuple`,
    },
    {
      what: 'faults in the addon’s system calls',
      tried: sum(counts, 'faults'),
      failed: wrong.filter((text) => text.startsWith('faulty')).length,
      detail: '',
    },
    { what: 'clients killed in the midst of it', tried: kills, failed: 0, detail: '' },
    {
      what: 'at exhaustion most of the time',
      tried: samples.length,
      failed: often > 0.5 ? 0 : 1,
      detail:
        `in ${percent(often)} of the time; in the median ${tcp} of the TCP connects and ${udp} of the UDP connects were refused, and of the ` +
        `pairs of source and destination TCP had all ports in ${full[0]}, UDP in ${full[1]}`,
    },
    ...Object.keys(FLOORS).map((name) => flatRow(name, points)),
    socketRow(samples),
    endRow(ends, Object.keys(points).length),
    {
      what: 'sockets left in the kernel at the end',
      tried: 2,
      failed: (left.afterClients === 0 ? 0 : 1) + (left.afterServer === 0 ? 0 : 1),
      detail: `${left.afterClients} when the clients had ended, ${left.afterServer} when the server had`,
    },
    {
      what: 'anything that was wrong, in all of these',
      tried: 1,
      failed: wrong.length,
      detail: wrong.slice(0, 5).join('; '),
    },
  ];
}
