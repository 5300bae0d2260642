// A virtual machine of qemu's, without any network device: it ends when its script does, or is ended.
import { spawn } from 'node:child_process';
import { constants, accessSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initramfs } from './initramfs.mjs';
import { busybox } from './kernel.mjs';

// Without KVM, a plain processor: vector instructions are slow when they are emulated.
const QEMU = {
  amd64: { program: 'qemu-system-x86_64', native: 'x64', console: 'ttyS0', machine: 'q35', cpu: 'Nehalem' },
  arm64: { program: 'qemu-system-aarch64', native: 'arm64', console: 'ttyAMA0', machine: 'virt', cpu: 'cortex-a72' },
};
const KVM = ['-accel', 'kvm', '-cpu', 'host'];
const tcg = (cpu) => ['-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', cpu];
const UP = 'connectx guest: up';
const SECONDS_TO_COME_UP = { kvm: 20, tcg: 120 };

function hasKvm(architecture) {
  if (QEMU[architecture].native !== process.arch) return false;
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Starts qemu; resolves with whether the guest came up, and was not ended for taking too long. */
function start(program, args, seconds, secondsToComeUp) {
  const qemu = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    let text = '';
    let up = false;
    let late = false;
    const end = () => {
      late = true;
      qemu.kill('SIGKILL');
    };
    let timer = setTimeout(end, secondsToComeUp * 1000);
    const take = (chunk) => {
      if (up) return void process.stdout.write(chunk);
      text += chunk;
      if (!text.includes(UP)) return;
      up = true;
      clearTimeout(timer);
      timer = setTimeout(end, seconds * 1000);
    };
    qemu.stdout.on('data', take);
    qemu.stderr.on('data', take);
    qemu.on('error', reject);
    qemu.on('close', () => {
      clearTimeout(timer);
      resolve({ up, late, text });
    });
  });
}

// Found out once, for this machine's architecture: a machine may have /dev/kvm and yet not run any kernel under it.
let kvm;

/** Runs the guest with KVM where that works, else without. Resolves with which it was. */
async function run({ program, cpu }, args, architecture, seconds) {
  const tooLong = () => new Error(`the guest was ended: it took longer than ${seconds} s`);
  kvm ??= hasKvm(architecture) ? undefined : false;
  if (kvm !== false && hasKvm(architecture)) {
    const { up, late } = await start(program, [...KVM, ...args], seconds, SECONDS_TO_COME_UP.kvm);
    kvm = up;
    if (up && late) throw tooLong();
    if (up) return 'KVM';
    console.log('KVM does not run it here: TCG, which is some ten times slower.');
  }
  const { up, late, text } = await start(program, [...tcg(cpu), ...args], seconds, SECONDS_TO_COME_UP.tcg);
  if (!up) throw new Error(`the kernel did not come up:\n${text.slice(-4000)}`);
  if (late) throw tooLong();
  return 'TCG';
}

/**
 * Boots the kernel with `root` (a folder of the host, read-only) as its root, and runs the shell script in it. The folders `kept` are there,
 * too, where the guest has its own. Resolves with what
 * `read` makes of how it was run (`KVM`, `TCG`) and of the folder with whatever the script left in /run/guest. Throws when
 * the guest does not come up, or takes longer than `seconds`.
 */
export async function boot({ kernel, architecture, root, kept, script, seconds }, read) {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-guest-'));
  try {
    const files = join(folder, 'guest');
    mkdirSync(files);
    writeFileSync(join(files, 'run'), `${script}\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n`);
    const qemu = QEMU[architecture];
    const shares = [
      ['root', root, 'on'],
      ['modules', kernel.modules, 'on'],
      ['guest', files, 'off'],
    ];
    const args = [
      ...['-machine', qemu.machine, '-smp', '2', '-m', '4096', '-nic', 'none', '-nodefaults', '-no-reboot'],
      ...['-display', 'none', '-serial', 'stdio'],
      ...['-kernel', kernel.image, '-initrd', initramfs(kernel, busybox(architecture), kept, folder)],
      ...['-append', `console=${qemu.console} quiet loglevel=3 panic=-1 mitigations=off init_on_alloc=0`],
      ...shares.flatMap(([tag, path, readonly]) => [
        '-virtfs',
        `local,path=${path},mount_tag=${tag},security_model=none,readonly=${readonly},multidevs=remap`,
      ]),
    ];
    const accelerator = await run(qemu, args, architecture, seconds);
    return read(accelerator, files);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
