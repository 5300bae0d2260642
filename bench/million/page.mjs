// The figures in docs/million.md, and its charts, from docs/million/figures.json: `node bench/million/page.mjs`.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chartsOf, pageWith } from './document.mjs';

const docs = new URL('../../docs/', import.meta.url);
const page = new URL('million.md', docs);
const figures = JSON.parse(readFileSync(new URL('million/figures.json', docs), 'utf8'));

for (const [name, svg] of Object.entries(await chartsOf(figures)))
  writeFileSync(new URL(`million/${name}.svg`, docs), svg);
writeFileSync(page, pageWith(figures, readFileSync(page, 'utf8')));
console.log(fileURLToPath(page));
