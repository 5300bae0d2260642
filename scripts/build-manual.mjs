// Writes the man page and the completions of bash and zsh to dist/, out of the command line's own table of options (src/cli/commands.ts).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { root } from './lib.mjs';

/** The functions of src/cli/manual.ts. */
export async function manual() {
  const bundle = await rolldown({ input: join(root, 'src/cli/manual.ts'), platform: 'node' });
  const { output } = await bundle.generate({ format: 'esm' });
  await bundle.close();
  return import(`data:text/javascript,${encodeURIComponent(output[0].code)}`);
}

export async function writeManual() {
  const { manPage, bashCompletion, zshCompletion } = await manual();
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const files = {
    'man/connectx.1': manPage(version),
    'completions/connectx.bash': bashCompletion(),
    'completions/_connectx': zshCompletion(),
  };
  for (const [name, text] of Object.entries(files)) {
    const file = join(root, 'dist', name);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, text);
  }
}
