// As much of SVG as the charts need. White below, so that a chart can be read on a dark page, too.
const FONT = 'DejaVu Sans, Verdana, Arial, sans-serif';

const escape = (text) => `${text}`.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
/** A tenth of a pixel is less than anybody sees. */
const at = (value) => `${Math.round(value * 10) / 10}`;

export function text(x, y, content, { size = 11, colour = '#000', anchor = 'start', bold = false } = {}) {
  const weight = bold ? ' font-weight="bold"' : '';
  return `<text x="${at(x)}" y="${at(y)}" font-size="${size}" fill="${colour}" text-anchor="${anchor}"${weight}>${escape(content)}</text>`;
}

export const rule = (x1, y1, x2, y2, colour) =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" stroke="${colour}"/>`;

export const bar = (x, y, width, height, colour) =>
  `<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" fill="${colour}"/>`;

/** A line through these points, with a dot on each. */
export function curve(points, colour) {
  const path = points.map(([x, y]) => `${at(x)},${at(y)}`).join(' ');
  const dots = points.map(([x, y]) => `<circle cx="${at(x)}" cy="${at(y)}" r="3.5" fill="${colour}"/>`);
  return [`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2.5"/>`, ...dots].join('');
}

export function svg(width, height, title, parts) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${FONT}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

const GRID = '#e4e4e4';
const AXIS = '#888888';
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
    text(left, top - 12, subtitle, { colour: '#444444' }),
    ...(y.grid ? y.ticks.map((tick) => rule(left, up(tick), left + width, up(tick), GRID)) : []),
    ...(x.grid ? x.ticks.map((tick) => rule(across(tick), top, across(tick), top + height, GRID)) : []),
    rule(left, top, left, top + height, AXIS),
    rule(left, top + height, left + width, top + height, AXIS),
    ...y.ticks.map((tick) => text(left - 7, up(tick) + 4, label(tick), { anchor: 'end' })),
    ...x.ticks.map((tick) => text(across(tick), top + height + 16, label(tick), { anchor: 'middle' })),
    ...(x.title ? [text(left + width / 2, top + height + 33, x.title, { size: 12, anchor: 'middle' })] : []),
  ];
  return { parts, across, up };
}
