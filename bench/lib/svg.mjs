// As much of SVG as the pictures need. A colour is a name with a light and a dark value; the reader's browser chooses. What knows no
// style sheets shows the light one.
const FONT = 'DejaVu Sans, Verdana, Arial, sans-serif';
export const MONOSPACE = 'DejaVu Sans Mono, Menlo, Consolas, monospace';

const COLOURS = {
  paper: ['#ffffff', '#0d1117'],
  ink: ['#1f2328', '#e6edf3'],
  soft: ['#59636e', '#9198a1'],
  grid: ['#e4e4e4', '#2a313a'],
  axis: ['#888888', '#6e7681'],
  red: ['#c4261d', '#ff7b72'],
  orange: ['#b35c00', '#f0a04b'],
  grey: ['#6b6b6b', '#a0a7b0'],
  green: ['#0b7a3e', '#3fb950'],
  blue: ['#1f6fb4', '#58a6ff'],
};

const escape = (text) => `${text}`.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
/** A tenth of a pixel is less than anybody sees. */
const at = (value) => `${Math.round(value * 10) / 10}`;

export function text(x, y, content, { size = 11, colour = 'ink', anchor = 'start', bold = false, more = '' } = {}) {
  const weight = bold ? ' font-weight="bold"' : '';
  const extra = more === '' ? '' : ` ${more}`;
  return `<text x="${at(x)}" y="${at(y)}" font-size="${size}" class="${colour}" text-anchor="${anchor}"${weight}${extra}>${escape(content)}</text>`;
}

export const rule = (x1, y1, x2, y2, colour, { width = 1, dashed = false } = {}) =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" class="${colour}" stroke="currentColor"` +
  `${width === 1 ? '' : ` stroke-width="${width}"`}${dashed ? ' stroke-dasharray="4 3"' : ''}/>`;

export const bar = (x, y, width, height, colour, { opacity = 1, round = 0 } = {}) =>
  `<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" class="${colour}"` +
  `${round === 0 ? '' : ` rx="${round}"`}${opacity === 1 ? '' : ` fill-opacity="${opacity}"`}/>`;

/** A frame with nothing in it. */
export const frame = (x, y, width, height, colour) =>
  `<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" rx="4" class="${colour}" style="fill:none" stroke="currentColor" stroke-width="1.5"/>`;

/** A line that ends in an arrowhead, or in a cross where nothing arrives. */
export function arrow(x1, y1, x2, y2, colour, { width = 1.5, dashed = false, lost = false } = {}) {
  const [length, angle] = [Math.hypot(x2 - x1, y2 - y1), Math.atan2(y2 - y1, x2 - x1)];
  const point = (along, aside) =>
    `${at(x1 + Math.cos(angle) * along - Math.sin(angle) * aside)},${at(y1 + Math.sin(angle) * along + Math.cos(angle) * aside)}`;
  const head = lost
    ? `<path d="M${point(length - 5, -5)} L${point(length + 5, 5)} M${point(length - 5, 5)} L${point(length + 5, -5)}" class="${colour}" stroke="currentColor" stroke-width="2"/>`
    : `<polygon points="${point(length, 0)} ${point(length - 8, -4)} ${point(length - 8, 4)}" class="${colour}"/>`;
  const end = lost ? length : length - 6;
  return rule(x1, y1, x1 + Math.cos(angle) * end, y1 + Math.sin(angle) * end, colour, { width, dashed }) + head;
}

/** A line through these points, with a dot on each. */
export function curve(points, colour) {
  const path = points.map(([x, y]) => `${at(x)},${at(y)}`).join(' ');
  const dots = points.map(([x, y]) => `<circle cx="${at(x)}" cy="${at(y)}" r="3.5" class="${colour}"/>`);
  return [
    `<polyline points="${path}" class="${colour}" style="fill:none" stroke="currentColor" stroke-width="2.5"/>`,
    ...dots,
  ].join('');
}

/** The rules for the colours that are used, one a line: light, then dark. */
function styleOf(parts) {
  const used = Object.entries(COLOURS).filter(([name]) => name === 'paper' || parts.includes(`class="${name}"`));
  const rules = (theme) =>
    used.map(([name, values]) => `.${name}{color:${values[theme]};fill:${values[theme]}}`).join('');
  return `<style>${rules(0)}@media (prefers-color-scheme:dark){${rules(1)}}</style>`;
}

export function svg(width, height, title, parts, { font = FONT } = {}) {
  const body = parts.join('\n');
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${font}" role="img">`,
    `<title>${escape(title)}</title>`,
    styleOf(body),
    bar(0, 0, width, height, 'paper', { round: 6 }),
    body,
    '</svg>\n',
  ].join('\n');
}

const label = (value) => value.toLocaleString('en-US');

/** Some four to eight round numbers from 0 to `most`. */
export function roundTicks(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.2, 0.5, 1].map((part) => part * power).find((one) => most / one <= 8) ?? power;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
}

/**
 * A frame with titles, grid, and axes. `x` and `y`: { ticks, scale, title?, grid?, label? }; `scale` gives 0 to 1 for a value. Gives
 * the parts, and where a value of x and one of y are.
 */
export function panel({ left, top, width, height, title, subtitle, x, y }) {
  const across = (value) => left + width * x.scale(value);
  const up = (value) => top + height * (1 - y.scale(value));
  const parts = [
    text(left, top - 28, title, { size: 14, bold: true }),
    text(left, top - 12, subtitle, { colour: 'soft' }),
    ...(y.grid ? y.ticks.map((tick) => rule(left, up(tick), left + width, up(tick), 'grid')) : []),
    ...(x.grid ? x.ticks.map((tick) => rule(across(tick), top, across(tick), top + height, 'grid')) : []),
    rule(left, top, left, top + height, 'axis'),
    rule(left, top + height, left + width, top + height, 'axis'),
    ...y.ticks.map((tick) => text(left - 7, up(tick) + 4, label(tick), { anchor: 'end' })),
    ...x.ticks.map((tick) => text(across(tick), top + height + 16, label(tick), { anchor: 'middle' })),
    ...(x.title ? [text(left + width / 2, top + height + 33, x.title, { size: 12, anchor: 'middle' })] : []),
  ];
  return { parts, across, up };
}
