// The package as npm would publish it, installed into a folder of its own without a network.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);

export const BUILT_ADDON = join(root, 'build/Release/connectx.node');

export interface Packed {
  /** The unpacked tarball. */
  folder: string;
  /** The paths in it, sorted. */
  files: string[];
  remove(): void;
}

/** `npm pack`, unpacked. */
export async function pack(): Promise<Packed> {
  const directory = mkdtempSync(join(tmpdir(), 'connectx-pack-'));
  const args = ['pack', '--json', '--ignore-scripts', '--offline', '--pack-destination', directory];
  const { stdout } = await run('npm', args, { cwd: root });
  const [packed] = JSON.parse(stdout) as { filename: string; files: { path: string }[] }[];
  if (packed === undefined) throw new Error(`npm pack said ${stdout}`);
  await run('tar', ['xzf', packed.filename], { cwd: directory });
  return {
    folder: join(directory, 'package'),
    files: packed.files.map(({ path }) => path).sort(),
    remove: () => rmSync(directory, { recursive: true }),
  };
}

export interface Project {
  folder: string;
  /** Where the package is installed. */
  package: string;
  write(name: string, text: string): void;
  /** Runs Node in it; resolves with what it printed. */
  node(...args: string[]): Promise<string>;
  remove(): void;
}

/** A project that depends on the package. `addon`: the bytes of its binary, if it has one; `without`: a dependency that is missing. */
export function install(packed: Packed, options: { addon?: Buffer; without?: string } = {}): Project {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-project-'));
  const modules = join(folder, 'node_modules');
  const target = join(modules, 'connectx');
  mkdirSync(modules);
  cpSync(packed.folder, target, { recursive: true });
  const { dependencies } = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  for (const name of Object.keys(dependencies)) {
    if (name !== options.without) symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
  if (options.addon !== undefined) {
    mkdirSync(join(target, 'build/Release'), { recursive: true });
    writeFileSync(join(target, 'build/Release/connectx.node'), options.addon);
  }
  return {
    folder,
    package: target,
    write: (name, text) => writeFileSync(join(folder, name), text),
    node: async (...args) => {
      const { stdout } = await run(process.execPath, args, { cwd: folder, timeout: 20_000 });
      return stdout;
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
}
