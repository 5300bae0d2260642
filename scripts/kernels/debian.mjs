// Packages of any Debian suite, by an apt of its own: neither the machine's sources nor what is installed on it play a part.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const quiet = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28 };

/** Where this machine has its Debian packages and their security updates from: `{ archive, security }`. */
function mirrors() {
  const format = ['--format', '$(SITE) $(CODENAME)', 'Created-By: Packages'];
  const lines = execFileSync('apt-get', ['indextargets', ...format], quiet)
    .trim()
    .split('\n');
  const sites = lines.map((line) => line.split(' '));
  const security = sites.find(([, codename]) => codename?.endsWith('-security'))?.[0];
  const archive = sites.find(([site, codename]) => site !== security && site?.endsWith('/debian') && codename)?.[0];
  if (!archive)
    throw new Error('Debian kernels come from a Debian mirror, and this machine has none in its apt sources');
  return { archive, security };
}

/**
 * The packages of these suites (`trixie`, `trixie-security`) for one architecture. What is downloaded goes into `folder`.
 */
export function debian(folder, suites, architecture) {
  const own = join(folder, `${suites[0]}-${architecture}`);
  for (const name of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(own, name), { recursive: true });
  const { archive, security } = mirrors();
  const lines = suites.flatMap((suite) => {
    const site = suite.endsWith('-security') ? security : archive;
    return site === undefined ? [] : [`deb [arch=${architecture}] ${site} ${suite} main\n`];
  });
  writeFileSync(join(own, 'sources.list'), lines.join(''));
  const settings = {
    'Dir::Etc::SourceList': join(own, 'sources.list'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State': own,
    'Dir::State::Lists': join(own, 'lists'),
    'Dir::State::status': '/dev/null',
    'Dir::Cache': join(own, 'cache'),
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  const apt = (command, ...args) => execFileSync(command, [...options, '-qq', ...args], { ...quiet, cwd: own });
  apt('apt-get', 'update');
  return {
    /** The names of all packages that match. */
    names: (pattern) => {
      const all = apt('apt-cache', 'pkgnames').split('\n');
      return all.filter((name) => pattern.test(name));
    },
    /** Unpacks the packages and all that they depend on, and nothing that they merely recommend, into a folder. */
    install: (names, target) => {
      apt('apt-get', 'install', '--yes', '--download-only', '--no-install-recommends', ...names);
      const archives = join(own, 'cache/archives');
      mkdirSync(target, { recursive: true });
      for (const file of readdirSync(archives).filter((name) => name.endsWith('.deb'))) {
        const files = execFileSync('dpkg-deb', ['--fsys-tarfile', join(archives, file)], { maxBuffer: 1 << 30 });
        // /bin and /lib are links to those below /usr.
        execFileSync('tar', ['x', '--keep-directory-symlink', '-C', target], { input: files });
      }
    },
    /** Downloads the newest version of the package; the path of its file. */
    download: (name) => {
      const uris = apt('apt-get', 'download', '--print-uris', name);
      const file = / (\S+\.deb) /.exec(uris)?.[1];
      if (file === undefined) throw new Error(`apt knows no file of ${name}`);
      apt('apt-get', 'download', name);
      return join(own, file);
    },
    /** Removes whatever has been downloaded. */
    forget: () => rmSync(own, { recursive: true }),
  };
}
