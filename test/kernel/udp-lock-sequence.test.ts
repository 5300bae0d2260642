// The sequence that docs/pictures/lock.mmd draws is the one that strace(1) sees.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { read, root } from '../helpers/documents.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith, leftOutWithout } from '../helpers/programs.js';

const [SOURCE, PORT, FIRST, SECOND] = ['127.0.0.1', 20001, '127.0.0.2', '127.0.0.3'] as const;

const program = `
  const { connectUdpSync } = require(${JSON.stringify(join(root, 'dist/index.js'))});
  const open = (host) => connectUdpSync({ host, port: 9, localAddress: '${SOURCE}', localPort: ${PORT} });
  // For the first time, where they lead is asked for.
  for (const host of ['${FIRST}', '${SECOND}']) open(host).close();
  const sockets = [open('${FIRST}'), open('${SECOND}')];
  for (const socket of sockets) socket.close();
`;

/** A line of strace in the words of the diagram, where it is a step of it. */
function stepOf(line: string): string | undefined {
  const [, option, value] = /setsockopt\(\d+, SOL_SOCKET, (SO_REUSEADDR), \[(\d)\]/.exec(line) ?? [];
  if (option !== undefined) return `setsockopt(${option}, ${value})`;
  if (/getsockopt\(\d+, SOL_SOCKET, SO_COOKIE/.test(line)) return 'getsockopt(SO_COOKIE)';
  if (line.includes(`bind(`) && line.includes(`htons(${PORT})`)) return 'bind(source, port)';
  if (/sendto\(.*SOCK_DIAG_BY_FAMILY/.test(line)) return 'sendto(SOCK_DIAG_BY_FAMILY, 4-tuple)';
  if (/ connect\(\d+, \{sa_family=AF_INET,/.test(line)) return 'connect(destination)';
  if (/recvfrom\(.*MSG_PEEK/.test(line)) return 'recvfrom(MSG_PEEK)';
  return undefined;
}

describeIsolated('the lock', () => {
  useNetwork({ range: [20000, 20003] });
  const leftOut = leftOutWithout('strace');

  test.skipIf(leftOut)(`is as it is drawn${leftOut}`, () => {
    const lines = read('docs/pictures/lock.mmd').split('\n');
    const drawn = lines.flatMap((line) => /C->>K: (\S.*?\))/.exec(line)?.[1] ?? []);
    expect(drawn.length).toBeGreaterThan(8);
    expect(lines.filter((line) => line.includes('D->>K'))).toEqual(['  D->>K: bind(source, port)']);

    const folder = folderWith({ 'program.cjs': program });
    const trace = join(folder, 'trace');
    execFileSync('strace', ['-f', '-e', 'trace=network', '-o', trace, process.execPath, 'program.cjs'], {
      cwd: folder,
    });
    const traced = readFileSync(trace, 'utf8').split('\n');
    // What libuv does to adopt the descriptor comes before, and dgram's own connect after it.
    const adopted = traced.findLastIndex((line) => line.includes('SO_NETNS_COOKIE'));
    const binds = traced.slice(0, adopted).filter((line) => stepOf(line) === 'bind(source, port)');
    expect(binds.at(-1)).toContain('EADDRINUSE');
    const seen = traced.slice(adopted + 1).flatMap((line) => stepOf(line) ?? []);
    expect(seen.slice(0, drawn.length)).toEqual(drawn);
    expect(seen[drawn.length]).toBe('connect(destination)');
  });
});
