// The prebuilt binaries: for which machines there are any, and what must hold for each of them.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The glibc of Debian 10 and RHEL 8, the oldest that Node 20 itself runs on. */
export const OLDEST_GLIBC = '2.28';

const LARGEST = 400_000;

/**
 * `zig`: what Zig calls the target. `file`: below prebuilds/, as node-gyp-build looks for it. `machine`: as readelf says it.
 * `needed`: the libraries that may be loaded with it. All are parts of the C library.
 */
export const targets = ['x64', 'arm64'].flatMap((arch) => {
  const cpu = { x64: 'x86_64', arm64: 'aarch64' }[arch];
  const machine = { x64: 'Advanced Micro Devices X86-64', arm64: 'AArch64' }[arch];
  const loader = { x64: 'ld-linux-x86-64.so.2', arm64: 'ld-linux-aarch64.so.1' }[arch];
  const common = { arch, machine };
  return [
    {
      ...common,
      name: `linux-${arch}`,
      libc: 'glibc',
      zig: `${cpu}-linux-gnu.${OLDEST_GLIBC}`,
      file: `linux-${arch}/connectx.glibc.node`,
      needed: ['libc.so.6', 'libm.so.6', 'libpthread.so.0', 'libdl.so.2', loader],
    },
    {
      ...common,
      name: `linux-${arch}-musl`,
      libc: 'musl',
      zig: `${cpu}-linux-musl`,
      file: `linux-${arch}/connectx.musl.node`,
      needed: ['libc.so'],
    },
  ];
});

/** The one that this machine loads, as node-gyp-build finds it; undefined where there is none. */
export const HERE =
  process.platform === 'linux'
    ? targets.find(
        ({ arch, libc }) => arch === process.arch && libc === (existsSync('/etc/alpine-release') ? 'musl' : 'glibc'),
      )
    : undefined;

const EXPORTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

/** What is wrong with this binary of this target, each in a sentence; empty when nothing is. Asks readelf (binutils). */
export function defects(path, target) {
  if (!existsSync(path)) return ['it is missing'];
  const found = [];
  const readelf = (...options) => {
    const env = { ...process.env, LC_ALL: 'C' };
    const { error, status, stdout, stderr } = spawnSync('readelf', ['--wide', ...options, path], {
      encoding: 'utf8',
      env,
      maxBuffer: 1e8,
    });
    if (error) throw error;
    if (status !== 0 || stderr !== '') found.push(`readelf says: ${stderr.trim() || `exit ${status}`}`);
    return stdout;
  };

  const machine = /^ *Machine: +(.+)$/m.exec(readelf('--file-header'))?.[1];
  if (machine !== target.machine) found.push(`it is for ${machine}, not for ${target.machine}`);

  const dynamic = readelf('--dynamic');
  const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name);
  for (const name of needed) if (!target.needed.includes(name)) found.push(`it needs ${name}`);
  if (needed.length === 0) found.push('it needs no library at all: its C library would be a second one');
  if (/\((RPATH|RUNPATH|TEXTREL)\)/.test(dynamic)) found.push('it has a RPATH, a RUNPATH or text relocations');

  const sections = readelf('--section-headers');
  if (/ \.(symtab|z?debug_\w+) /.test(sections)) found.push('it is not stripped');
  const stack = /^ *GNU_STACK .*$/m.exec(readelf('--program-headers'))?.[0];
  if (stack === undefined || / RWE /.test(stack)) found.push('its stack is executable');

  const symbols = readelf('--dyn-syms')
    .split('\n')
    .map((line) => /^ *\d+: +\w+ +\w+ +(\w+) +(\w+) +\w+ +(\w+) +(\S+)/.exec(line))
    .filter((match) => match !== null)
    .map(([, type, binding, section, name]) => ({ type, binding, section, name }));
  const exported = symbols.filter(({ section }) => section !== 'UND').map(({ name }) => name);
  if (exported.sort().join() !== EXPORTS.join()) found.push(`it exports ${exported.join(', ') || 'nothing'}`);
  for (const { name, binding } of symbols.filter(({ section }) => section === 'UND')) {
    const [, symbol, version] = /^([^@]+)(?:@(.+))?$/.exec(name) ?? [];
    const ofGlibc = /^GLIBC_([\d.]+)$/.exec(version ?? '')?.[1];
    if (ofGlibc !== undefined && target.libc === 'glibc') {
      if (newer(ofGlibc, OLDEST_GLIBC)) found.push(`${symbol} is of glibc ${ofGlibc}`);
    } else if (version !== undefined) found.push(`${symbol} is of ${version}`);
    else if (target.libc === 'glibc' && binding !== 'WEAK' && !symbol.startsWith('napi_')) {
      found.push(`${symbol} is of no version of glibc`);
    }
  }

  const { size } = statSync(path);
  if (size > LARGEST) found.push(`it has ${size} bytes, more than ${LARGEST}`);
  return found;
}

function newer(version, than) {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number));
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

/** What is wrong with the prebuilt binaries in this folder: those of these targets must be there, and others must not. */
export function defectsOf(folder, wanted = targets) {
  const found = wanted.flatMap((target) => {
    return defects(join(folder, target.file), target).map((defect) => `${target.file}: ${defect}`);
  });
  const known = targets.map(({ file }) => file);
  const tuples = existsSync(folder)
    ? readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())
    : [];
  const present = tuples.flatMap(({ name }) => readdirSync(join(folder, name)).map((file) => `${name}/${file}`));
  const strangers = present.filter((file) => !known.includes(file));
  return [...found, ...strangers.map((file) => `${file}: it is for no machine that is known here`)];
}
