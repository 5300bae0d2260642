// The recipes of docs/guides/linux.md: the commands of a section, and then its program, in one network namespace.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import { expectPromised, OURS, project, runIn, SERVERS, startServers } from '../helpers/documented.js';
import { blocksOf, read } from '../helpers/documents.js';
import { describeIsolated, shell, useNetwork } from '../helpers/netns.js';
import { track } from '../helpers/sockets.js';

const PAGE = 'docs/guides/linux.md';
const lines = read(PAGE).split('\n');
const all = blocksOf(PAGE);
/** The heading above a line. */
const sectionOf = (line: number) =>
  lines
    .slice(0, line)
    .findLast((text) => text.startsWith('## '))
    ?.slice(3) ?? '';
const sections = [...new Set(all.map(({ line }) => sectionOf(line)))];

/** An interface `red`, and a server behind it that cannot be reached in another way; an address of it is no use elsewhere. */
async function addRed(): Promise<void> {
  const program = `
    ip link set lo up
    ip addr add 203.0.113.20/32 dev lo
    until ip link set red1 up 2>/dev/null; do sleep 0.01; done
    ip route add 192.0.2.7/32 dev red1
    exec node -e "require('net').createServer((s) => s.resume()).listen(80, '203.0.113.20', () => console.log('ready'))"`;
  const child = spawn('unshare', ['-n', 'sh', '-ec', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  track({ close: () => void child.kill('SIGKILL') });
  await once(child, 'spawn');
  // unshare(1) becomes the shell, under the same id.
  shell(`
    until [ "$(readlink /proc/${child.pid}/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
    ip link add red type veth peer name red1 netns ${child.pid}
    ip link set red up
    ip route add 203.0.113.20/32 dev red table 10
    ip rule add oif red lookup 10`);
  await once(child.stdout, 'data');
}

describeIsolated('Linux networking recipes', () => {
  useNetwork({ range: [32768, 60999], addresses: [...OURS, ...SERVERS] });
  beforeEach(startServers);

  test('there are recipes', () => expect(sections.length).toBeGreaterThan(3));

  test.each(sections)('%s', async (section) => {
    if (section.startsWith('A VRF')) await addRed();
    const folder = project({});
    let programs = 0;
    for (const block of all.filter(({ line }) => sectionOf(line) === section)) {
      if (block.language === 'sh') shell(block.code);
      else {
        programs++;
        const output = await runIn(folder, [process.execPath, '--input-type=module', '-e', block.code]);
        expectPromised(block, output);
      }
    }
    expect(programs).toBe(1);
  });
});
