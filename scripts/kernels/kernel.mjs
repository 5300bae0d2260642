// A Debian kernel with those of its modules that a guest may ask for, kept in .kernels/.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../lib.mjs';
import { debian } from './debian.mjs';

/** Whatever is fetched or made for guests; git ignores it. */
export const cache = join(root, '.kernels');

// The suite whose kernel it is. Whatever else can be had is among the backports, for a while.
const SUITES = new Map([
  ['5.10', ['bullseye', 'bullseye-security']],
  ['6.1', ['bookworm', 'bookworm-security']],
  ['6.12', ['trixie', 'trixie-security']],
]);
const BACKPORTS = ['trixie-backports'];

// Hardware and sound are most of a kernel's modules.
const NEEDED =
  /^(modules\..*|kernel\/(net|fs|lib|crypto|arch|drivers\/virtio|drivers\/net\/(dummy|veth|vrf|tun)\.ko.*))$/;

const byVersion = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/** The kernel of these packages: `vmlinuz` and `modules/`, moved into `folder`. */
function unpack(debs, release, folder) {
  const whole = join(folder, 'whole');
  for (const deb of debs) execFileSync('dpkg-deb', ['-x', deb, whole]);
  const modules = ['usr/lib/modules', 'lib/modules'].map((name) => join(whole, name, release)).find(existsSync);
  // Of late it is with the modules.
  const images = [join(whole, 'boot', `vmlinuz-${release}`), join(modules, 'vmlinuz')];
  cpSync(images.find(existsSync), join(folder, 'vmlinuz'));
  const kept = join(folder, 'lib/modules', release);
  const keep = (path) => {
    const from = join(modules, path);
    if (NEEDED.test(path)) {
      mkdirSync(join(kept, path, '..'), { recursive: true });
      renameSync(from, join(kept, path));
    } else if (/^(kernel(\/drivers(\/net)?)?)?$/.test(path)) {
      for (const name of readdirSync(from)) keep(join(path, name));
    }
  };
  keep('');
  execFileSync('/sbin/depmod', ['-b', folder, release]);
  rmSync(whole, { recursive: true });
}

/**
 * Linux `version` (`6.1`, or `newest`) for an architecture of Debian's: `{ release, image, modules }`, the last one the folder
 * that is /lib/modules. What has been fetched once is used again; remove it to have a newer one.
 */
export function kernel(version, architecture) {
  const folder = join(cache, `linux-${version}-${architecture}`);
  const found = () => {
    const modules = join(folder, 'lib/modules');
    return { release: readdirSync(modules)[0], image: join(folder, 'vmlinuz'), modules };
  };
  if (existsSync(folder)) return found();

  const suites = SUITES.get(version) ?? BACKPORTS;
  console.log(`Linux ${version} (${architecture}) is fetched from Debian's ${suites.join(' and ')}.`);
  const packages = debian(join(cache, 'apt'), suites, architecture);
  // linux-image-6.1.0-56-amd64, linux-image-6.12.117+deb13-amd64; not -cloud-amd64, which has no 9p, nor -rt-amd64.
  const wanted = version === 'newest' ? String.raw`\d+\.\d+` : version.replaceAll('.', String.raw`\.`);
  const pattern = new RegExp(String.raw`^linux-image-(${wanted}\.\d+(-\d+)?(\+deb\d+(\.\d+)?)?-${architecture})$`);
  const image = packages.names(pattern).sort(byVersion).at(-1);
  if (image === undefined) throw new Error(`Debian's ${suites.join(' and ')} have no Linux ${version}`);
  const release = pattern.exec(image)[1];
  // In newer ones the image is split in two.
  const parts = packages.names(/^linux-(image|binary|modules)-\d/).filter((name) => name.endsWith(`-${release}`));
  const incomplete = `${folder}.incomplete`;
  rmSync(incomplete, { recursive: true, force: true });
  mkdirSync(incomplete, { recursive: true });
  const debs = parts.map((part) => packages.download(part));
  unpack(debs, release, incomplete);
  renameSync(incomplete, folder);
  packages.forget();
  return found();
}

/** A busybox that needs no shared library. */
export function busybox(architecture) {
  const file = join(cache, `busybox-${architecture}`);
  if (existsSync(file)) return file;
  const packages = debian(join(cache, 'apt'), SUITES.get('6.12'), architecture);
  const folder = `${file}.incomplete`;
  const deb = packages.download('busybox-static');
  execFileSync('dpkg-deb', ['-x', deb, folder]);
  packages.forget();
  renameSync(join(folder, 'usr/bin/busybox'), file);
  rmSync(folder, { recursive: true });
  return file;
}

/** The files of these modules and of all that they need, in the order in which they are loaded. */
export function moduleFiles({ release, modules }, names) {
  const base = join(modules, release);
  const lines = readFileSync(join(base, 'modules.dep'), 'utf8').trim().split('\n');
  const needs = new Map(
    lines.map((line) => [line.split(':')[0], line.split(':')[1].trim().split(' ').filter(Boolean)]),
  );
  const nameOf = (file) => file.replace(/^.*\//, '').replace(/\.ko.*$/, '');
  const files = new Set();
  for (const name of names) {
    // What is not there is built in.
    const file = [...needs.keys()].find((path) => nameOf(path) === name);
    // modules.dep names the last to load first.
    if (file !== undefined) for (const path of [...needs.get(file).toReversed(), file]) files.add(join(base, path));
  }
  return [...files];
}
