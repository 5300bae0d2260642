// A sequence diagram: of the lines of Mermaid that docs/pictures/lock.mmd uses, and an SVG of them.
import { arrow, bar, frame, rule, svg, text } from '../../bench/lib/svg.mjs';

const STEP = 25;
const TOP = 62;

/** [{ kind: 'note', over, text } | { kind: 'message', from, to, text, answer, lost }], and the participants by their letters. */
export function parse(source) {
  const participants = new Map();
  const steps = source.split('\n').flatMap((line) => {
    const [, id, name] = /^ +participant (\w) as (.+)$/.exec(line) ?? [];
    if (id !== undefined) participants.set(id, name);
    const [, first, last, note] = /^ +Note over (\w),(\w): (.+)$/.exec(line) ?? [];
    if (note !== undefined) return [{ kind: 'note', over: [first, last], text: note }];
    const [, from, line1, to, message] = /^ +(\w)(-->>|->>|-x)(\w): (.+)$/.exec(line) ?? [];
    if (message === undefined) return [];
    return [{ kind: 'message', from, to, text: message, answer: line1 === '-->>', lost: line1 === '-x' }];
  });
  return { participants, steps };
}

/** `lane` is whose calls they are; it is marked between the notes `from` and `to`. */
export function sequencePicture(title, source, { lane, from, to }) {
  const { participants, steps } = parse(source);
  const width = 700;
  const ids = [...participants.keys()];
  // The others stand close to each other: what is said is said to the kernel, on the right.
  const x = Object.fromEntries(ids.map((id, n) => [id, n === ids.length - 1 ? width - 60 : 62 + 92 * n]));
  const y = (step) => TOP + STEP * (step + 1);
  const height = y(steps.length) + 14;
  const noteAt = (note) => steps.findIndex((step) => step.kind === 'note' && step.text === note);
  // The first note is inside, the last one is below.
  const [begin, end] = [from, to].map((note) => y(noteAt(note)) - 12);
  if (begin >= end) throw new Error('the notes are not where they should be');
  return svg(width, height, title, [
    bar(x[lane] - 5, begin, x[ids.at(-1)] - x[lane] + 10, end - begin, 'green', { opacity: 0.1 }),
    ...ids.flatMap((id) => [
      rule(x[id], 46, x[id], height - 12, 'axis', { dashed: true }),
      frame(x[id] - 42, 18, 84, 28, 'axis'),
      text(x[id], 36, participants.get(id), { size: 12, anchor: 'middle', bold: true }),
    ]),
    ...steps.flatMap((step, n) => {
      if (step.kind === 'note')
        return [
          // To the right of all lines but the kernel's.
          text(Math.max(x[step.over[0]], x[lane]) + 10, y(n) + 4, step.text, {
            size: 12,
            bold: true,
            colour: n === noteAt(from) || n === noteAt(to) ? 'green' : 'soft',
          }),
        ];
      const colour = step.lost ? 'red' : step.answer ? 'soft' : 'ink';
      const [start, stop] = [x[step.from], x[step.to]];
      const words = { size: 12, colour, anchor: step.answer ? 'end' : 'start' };
      return [
        text(step.answer ? start - 10 : Math.max(start, x[lane]) + 10, y(n) - 4, step.text, words),
        arrow(start, y(n) + 2, step.lost ? stop - 30 : stop, y(n) + 2, colour, {
          dashed: step.answer,
          lost: step.lost,
        }),
      ];
    }),
  ]);
}
