// Database servers, each with data of its own in a folder, and as the user that it wants to be.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { plainEnvironment } from './environment.js';
import { Program } from './programs.js';

// Debian keeps these off the PATH: PostgreSQL's by version, and what only administrators run.
const FOLDERS = [
  ...(process.env.PATH ?? '').split(delimiter),
  '/usr/sbin',
  ...['18', '17', '16', '15', '14'].map((version) => `/usr/lib/postgresql/${version}/bin`),
];

function find(program: string): string | undefined {
  return FOLDERS.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

function pathOf(program: string): string {
  const path = find(program);
  if (path === undefined) throw new Error(`${program} is not installed`);
  return path;
}

/** To be appended to a test's name: what it is left out for, or nothing. */
export function leftOutWithoutServers(...programs: string[]): string {
  const missing = programs.filter((program) => find(program) === undefined);
  return missing.length === 0 ? '' : ` [left out: ${missing.join(' and ')} is not installed]`;
}

// PostgreSQL does not run as root. In a further user namespace root is somebody else, and has the same files.
const NOT_ROOT = ['-U', '--map-user=1000', '--map-group=1000'];

/** PostgreSQL, which lets `app` in without a password. */
export async function postgres(folder: string, hosts: readonly string[], port: number): Promise<Program> {
  const asked = ['-D', 'data', '-U', 'app', '-A', 'trust', '--no-sync', '--no-locale', '-E', 'UTF8'];
  execFileSync('unshare', [...NOT_ROOT, pathOf('initdb'), ...asked], {
    cwd: folder,
    stdio: 'pipe',
    env: plainEnvironment(),
  });
  writeFileSync(join(folder, 'data/pg_hba.conf'), 'host all all all trust\n');
  const settings = ['fsync=off', 'max_connections=200', 'unix_socket_directories=', `port=${port}`];
  const args = settings.flatMap((setting) => ['-c', setting]);
  const command = [pathOf('postgres'), '-D', 'data', '-h', hosts.join(','), ...args];
  const program = new Program(folder, 'unshare', ...NOT_ROOT, ...command);
  await program.listensOn(hosts, port);
  return program;
}

/** MariaDB, which lets `app` in without a password. */
export async function mariadb(folder: string, hosts: readonly string[], port: number): Promise<Program> {
  const data = join(folder, 'data');
  const install = ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', '--user=root'];
  execFileSync('mariadb-install-db', [...install, '--skip-test-db'], {
    cwd: folder,
    stdio: 'pipe',
    env: plainEnvironment(),
  });
  const bootstrap = "FLUSH PRIVILEGES;\nCREATE USER app@'%';\nGRANT ALL ON *.* TO app@'%';\nCREATE DATABASE app;\n";
  execFileSync(pathOf('mariadbd'), ['--no-defaults', `--datadir=${data}`, '--user=root', '--bootstrap'], {
    cwd: folder,
    input: bootstrap,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: plainEnvironment(),
  });
  const program = new Program(
    folder,
    pathOf('mariadbd'),
    '--no-defaults',
    '--user=root',
    '--skip-name-resolve',
    `--datadir=${data}`,
    `--socket=${join(folder, 'socket')}`,
    `--bind-address=${hosts.join(',')}`,
    `--port=${port}`,
  );
  await program.listensOn(hosts, port);
  return program;
}

/** Redis without persistence. */
export async function redis(folder: string, hosts: readonly string[], port: number): Promise<Program> {
  mkdirSync(join(folder, 'redis'));
  const args = ['--port', `${port}`, '--save', '', '--protected-mode', 'no', '--dir', join(folder, 'redis')];
  const program = new Program(folder, pathOf('redis-server'), '--bind', ...hosts, ...args);
  await program.listensOn(hosts, port);
  return program;
}
