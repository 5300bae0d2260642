// The pictures of the pages: `npm run docs:pictures`. Those that are drawn here, and the demo and `connectx watch`, recorded as they run
// on a terminal.
// With --check nothing is written: are the drawn ones what these files give? (Charts are made of figures: bench/pages.mjs.)
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './lib.mjs';
import { sequencePicture } from './pictures/sequence.mjs';
import { record, terminalPicture } from './pictures/terminal.mjs';
import { tuplePicture } from './pictures/tuple.mjs';

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const at = (name) => join(root, 'docs/pictures', name);
const lock = sequencePicture('The UDP lock, step by step', readFileSync(at('lock.mmd'), 'utf8'), {
  lane: 'C',
  from: 'the port is locked from here',
  to: 'the port is shared again',
});
const drawn = { 'tuple.svg': tuplePicture(), 'lock.svg': lock };

if (values.check) {
  const stale = Object.entries(drawn).filter(([name, text]) => readFileSync(at(name), 'utf8') !== text);
  for (const [name] of stale)
    console.error(`docs/pictures/${name} is not what scripts/pictures gives: npm run docs:pictures`);
  process.exit(stale.length > 0 ? 1 : 0);
}
const demo = await record(`node ${join(root, 'examples/demo.mjs')}`);
const title = 'npm run demo: net.connect opens 20 connections, connectx 100';
const size = { columns: 112, rows: 8 };
const watch = await record(`unshare -Urn node ${join(root, 'scripts/pictures/watched.mjs')}`, size);
const watchTitle =
  'connectx watch: how full each destination is, how fast it fills, when it will be full, and whose connections they are';
const all = {
  ...drawn,
  'demo.svg': terminalPicture(title, 'npm run demo', demo, { seconds: 8, frames: 32 }),
  'watch.svg': terminalPicture(watchTitle, 'connectx watch', watch, { ...size, seconds: 8, frames: 8 }),
};
for (const [name, text] of Object.entries(all)) writeFileSync(at(name), text);
console.log(Object.keys(all).join('\n'));
