// Where the libraries are that tests try connectx with: those of test/libraries, and the few that the project itself uses.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/** The folder of an installed package. */
export function libraryFolder(name: string): string {
  const folders = ['test/node_modules', 'node_modules'].map((modules) => join(root, modules, name));
  const found = folders.find((folder) => existsSync(folder));
  if (found === undefined) throw new Error(`${name} is not installed: npm run setup -- tests`);
  return found;
}
