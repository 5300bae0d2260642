// The package as npm would publish it, installed into a folder of its own without a network.
import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { newest } from '../../scripts/lib.mjs';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);

export const BUILT_ADDON = join(root, 'build/Release/connectx.node');

const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc';

/** Where the prebuilt binary of this machine is in the package. */
export const PREBUILT = `prebuilds/${process.platform}-${process.arch}/connectx.${libc}.node`;

/** Whether `npm run prebuild` has made one for this machine of the sources as they are. CI has to. */
export const isPrebuilt = newest(join(root, PREBUILT)) > newest(join(root, 'native'));

export interface Packed {
  tarball: string;
  /** Its size in bytes. */
  size: number;
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
  const [packed] = JSON.parse(stdout) as {
    filename: string;
    size: number;
    files: { path: string }[];
  }[];
  if (packed === undefined) throw new Error(`npm pack said ${stdout}`);
  await run('tar', ['xzf', packed.filename], { cwd: directory });
  return {
    tarball: join(directory, packed.filename),
    size: packed.size,
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

/**
 * A project that depends on the package. `addon`: the bytes of its binary, if it has one (there is none in prebuilds/ then);
 * `without`: a dependency that is missing.
 */
export function install(packed: Packed, options: { addon?: Buffer; without?: string } = {}): Project {
  const made = emptyProject();
  const modules = join(made.folder, 'node_modules');
  mkdirSync(modules);
  cpSync(packed.folder, made.package, { recursive: true });
  rmSync(join(made.package, 'prebuilds'), { recursive: true, force: true });
  const { dependencies } = JSON.parse(readFileSync(join(made.package, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  for (const name of Object.keys(dependencies)) {
    if (name !== options.without) symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
  if (options.addon !== undefined) {
    mkdirSync(join(made.package, 'build/Release'), { recursive: true });
    writeFileSync(join(made.package, 'build/Release/connectx.node'), options.addon);
  }
  return made;
}

/** As users do it: `npm install --ignore-scripts`, where there is no compiler, nor any other program but Node and a shell. */
export async function npmInstall(packed: Packed): Promise<Project> {
  const made = emptyProject();
  const bin = join(made.folder, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, 'node'));
  symlinkSync(realpathSync('/bin/sh'), join(bin, 'sh'));
  const env = { ...process.env, PATH: bin };
  const npm = [realpathSync(find('npm'))];
  // From a file, so that nothing is fetched.
  const [dependency] = JSON.parse(
    (
      await run(process.execPath, [...npm, 'pack', '--json', join(root, 'node_modules/node-gyp-build')], {
        cwd: bin,
        env,
      })
    ).stdout,
  ) as { filename: string }[];
  const dependencies = { connectx: packed.tarball, 'node-gyp-build': join(bin, dependency?.filename ?? '') };
  made.write('package.json', JSON.stringify({ private: true, dependencies }));
  const args = ['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund'];
  await run(process.execPath, [...npm, ...args], { cwd: made.folder, env });
  if (!isPrebuilt) {
    if (process.env.CI === 'true') throw new Error('CI tests the prebuilt binaries: npm run prebuild comes first');
    mkdirSync(dirname(join(made.package, PREBUILT)), { recursive: true });
    cpSync(BUILT_ADDON, join(made.package, PREBUILT));
  }
  return { ...made, node: (...args) => node(made.folder, args, env) };
}

function emptyProject(): Project {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-project-'));
  return {
    folder,
    package: join(folder, 'node_modules/connectx'),
    write: (name, text) => writeFileSync(join(folder, name), text),
    node: (...args) => node(folder, args, process.env),
    remove: () => rmSync(folder, { recursive: true }),
  };
}

async function node(cwd: string, args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { stdout } = await run(process.execPath, args, { cwd, env, timeout: 20_000 });
  return stdout;
}

/** The program of this name in PATH. */
function find(command: string): string {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, command))
    .find(existsSync);
  if (found === undefined) throw new Error(`there is no ${command} in PATH`);
  return found;
}
