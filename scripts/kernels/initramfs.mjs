// The initramfs of a guest: busybox, the modules without which there is no root, and init.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { moduleFiles } from './kernel.mjs';

// Not needed where they are built in.
const MODULES = ['virtio_pci', 'virtio_mmio', '9pnet_virtio', '9p', 'overlay'];

const decompress = { xz: ['xz', '-dc'], zst: ['zstd', '-qdc'] };

/**
 * Makes the initramfs for the kernel, with this busybox (linked statically), and gives the path of its file. `kept`: the folders that init
 * puts back.
 */
export function initramfs(kernel, busybox, kept, folder) {
  const tree = join(folder, 'initramfs');
  rmSync(tree, { recursive: true, force: true });
  for (const name of ['bin', 'modules']) mkdirSync(join(tree, name), { recursive: true });
  cpSync(busybox, join(tree, 'bin/busybox'), { dereference: true });
  copyFileSync(join(import.meta.dirname, 'init'), join(tree, 'init'));
  chmodSync(join(tree, 'init'), 0o755);
  copyFileSync(join(import.meta.dirname, 'put-back'), join(tree, 'put-back'));
  writeFileSync(join(tree, 'keep'), kept.map((path) => `${path}\n`).join(''));
  const order = moduleFiles(kernel, MODULES).map((file) => {
    const [name, packed] = /^(.*\.ko)(?:\.(xz|zst))?$/.exec(basename(file)).slice(1);
    const [command, ...args] = packed === undefined ? ['cat'] : decompress[packed];
    writeFileSync(join(tree, 'modules', name), execFileSync(command, [...args, file], { maxBuffer: 1 << 28 }));
    return name;
  });
  writeFileSync(join(tree, 'modules/order'), order.map((name) => `${name}\n`).join(''));
  const list = execFileSync('find', ['.', '-print0'], { cwd: tree });
  const archive = execFileSync('cpio', ['-0', '-o', '-H', 'newc', '--quiet'], {
    cwd: tree,
    input: list,
    maxBuffer: 1 << 28,
  });
  const file = join(folder, 'initramfs.img');
  writeFileSync(file, archive);
  rmSync(tree, { recursive: true });
  return file;
}
