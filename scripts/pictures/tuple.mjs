// Why it matters when the port is bound: one source port and three destinations, as core asks for it and as connectx does.
import { arrow, bar, frame, svg, text } from '../../bench/lib/svg.mjs';

const SOURCE = '192.0.2.7';
const PORT = 'port 32768';
const DESTINATIONS = ['203.0.113.10:443', '203.0.113.11:443', '203.0.113.12:443'];

/** A box with these lines in it; the first one is bold. */
const box = (x, y, width, height, colour, [first, ...rest]) => [
  bar(x, y, width, height, colour, { opacity: 0.12, round: 4 }),
  frame(x, y, width, height, colour),
  text(x + width / 2, y + (rest.length === 0 ? height / 2 + 4 : height / 2 - 3), first, {
    size: 12,
    anchor: 'middle',
    bold: rest.length > 0,
  }),
  ...rest.map((line, n) => text(x + width / 2, y + height / 2 + 13 + 14 * n, line, { size: 12, anchor: 'middle' })),
];

/** `reaches`: to how many of the destinations the port leads. */
function side(left, { title, call, steps, reaches, colour, end }) {
  const parts = [
    text(left, 34, title, { size: 15, bold: true }),
    text(left, 53, call, { size: 12, colour }),
    ...box(left, 122, 104, 46, colour, [SOURCE, PORT]),
  ];
  for (const [n, destination] of DESTINATIONS.entries()) {
    const y = 88 + 57 * n;
    const reached = n < reaches;
    const [tone, from, to] = [reached ? colour : 'grey', [left + 106, 145], [left + 244, y + 17]];
    // Where nothing arrives, the line ends half-way.
    const half = [from[0] + (to[0] - from[0]) * 0.55, from[1] + (to[1] - from[1]) * 0.55];
    parts.push(
      ...box(left + 246, y, 134, 34, tone, [destination]),
      arrow(...from, ...(reached ? to : half), tone, { width: reached ? 2 : 1.5, dashed: !reached, lost: !reached }),
    );
  }
  return [
    ...parts,
    ...steps.map((step, n) => text(left, 278 + 17 * n, step, { size: 12 })),
    text(left, 332, end, { size: 12, bold: true, colour }),
  ];
}

export function tuplePicture() {
  return svg(860, 352, 'One source port, three destinations: bound early it serves one, bound late it serves all', [
    ...side(30, {
      title: 'Bound early',
      call: 'net.connect({ localAddress })',
      steps: ['1. bind(192.0.2.7, 0): the kernel reserves a port,', '    before it knows the destination'],
      reaches: 1,
      colour: 'red',
      end: 'The port is lost to every other destination.',
    }),
    ...side(460, {
      title: 'Bound late',
      call: 'connectx, connect({ localAddress })',
      steps: ['1. bind(192.0.2.7): the address only', '2. connect(destination): a port that is free towards it'],
      reaches: 3,
      colour: 'green',
      end: 'Every destination can use the port: the 4-tuples differ.',
    }),
  ]);
}
