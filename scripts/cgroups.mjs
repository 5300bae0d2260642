// Cgroups with BPF programs for the tests (test/native/bpf.cc): it takes root of the machine to make them, which the tests, in a
// user namespace of their own, are not. test/helpers/cgroup.ts says what a process finds in each of them.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { root } from './lib.mjs';

const AF_INET = 2;
const AF_INET6 = 10;

/** Where cgroup2 is mounted. */
function mounted() {
  const line = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((mount) => mount.split(' ')[2] === 'cgroup2');
  return line?.split(' ')[1];
}

/** A Unix socket for requests to scripts/sk-lookup.mjs, which listens there until it is stopped. */
function serveSkLookup() {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-sk-lookup-'));
  const path = join(folder, 'socket');
  const server = spawn(process.execPath, [join(root, 'scripts/sk-lookup.mjs'), path], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const stop = () => {
    server.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  return { path, stop };
}

/**
 * The folder with the cgroups `service` and `device`, and the socket of scripts/sk-lookup.mjs; or why there are none. To be removed when
 * every process in them has ended.
 */
export function makeCgroups() {
  const none = (reason) => ({ path: undefined, skLookup: undefined, reason, remove: () => {} });
  if (process.platform !== 'linux') return none('not Linux');
  if (process.getuid() !== 0) return none('BPF programs take root');
  const mount = mounted();
  if (mount === undefined) return none('no cgroup2 is mounted');
  const made = [];
  const remove = () => {
    for (const folder of made.reverse()) rmdirSync(folder);
  };
  try {
    const bpf = createRequire(import.meta.url)(join(root, 'test/native/build/Release/bpf.node'));
    const path = mkdtempSync(join(mount, 'connectx-test-'));
    made.push(path);
    const attached = [];
    const service = join(path, 'service');
    const device = join(path, 'device');
    for (const folder of [service, device]) {
      mkdirSync(folder);
      made.push(folder);
    }
    attached.push(bpf.service(service, AF_INET, '198.51.100.1', '127.0.0.1', '127.0.0.2'));
    attached.push(bpf.service(service, AF_INET6, '2001:db8:5::1', '2001:db8::1', '2001:db8::2'));
    attached.push(bpf.device(device, 50), bpf.skLookup(0, 0, 0));
    const failed = attached.find((outcome) => outcome < 0);
    if (failed === undefined) {
      const skLookup = serveSkLookup();
      return {
        path,
        skLookup: skLookup.path,
        reason: undefined,
        remove: () => {
          skLookup.stop();
          remove();
        },
      };
    }
    remove();
    return none(`BPF programs cannot be attached: ${getSystemErrorName(failed)}`);
  } catch (error) {
    remove();
    return none(String(error));
  }
}
