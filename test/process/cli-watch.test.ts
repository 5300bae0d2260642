// `connectx watch`, on a terminal (tmux) and without one.
import { connect } from 'connectx';
import { beforeEach, describe, expect, test } from 'vitest';
import { CLI, runCli } from '../helpers/cli.js';
import { SERVER } from '../helpers/families.js';
import { describeIsolated, shell, useNetwork } from '../helpers/netns.js';
import { need } from '../helpers/needs.js';
import { folderWith } from '../helpers/programs.js';
import { connected, echoServer, slowness, until } from '../helpers/sockets.js';

const V4 = Array.from({ length: 30 }, (_, n) => `127.0.1.${n + 1}`);
const V6 = Array.from({ length: 30 }, (_, n) => `2001:db8:aaaa:bbbb:cccc:dddd:eeee:${(0x1000 + n).toString(16)}`);
const SOURCE6 = '2001:db8:ffff:ffff:ffff:ffff:ffff:1';
const ENDS = [...V4.map((host) => `${host}:${SERVER}`), ...V6.map((host) => `[${host}]:${SERVER}`)];

const to = (host: string) =>
  connected(connect({ host, port: SERVER, localAddress: host.includes(':') ? SOURCE6 : '127.0.0.1' }));

/** A terminal of its own, with a shell in it. */
class Tmux {
  readonly #socket: string;

  constructor(columns: number, rows: number) {
    need('tmux');
    this.#socket = `${folderWith()}/socket`;
    // A shell around it, so that there is a screen to come back to.
    this.run(`-f /dev/null new-session -d -s watch -x ${columns} -y ${rows} sh`);
  }

  run(command: string): string {
    return shell(`tmux -S ${this.#socket} ${command}`);
  }

  screen(): string[] {
    return this.run('capture-pane -p -t watch').trimEnd().split('\n');
  }

  keys(...keys: string[]): void {
    this.run(`send-keys -t watch ${keys.join(' ')}`);
  }

  async shows(pattern: RegExp): Promise<void> {
    await until(
      () => pattern.test(this.screen().join('\n')),
      () => this.screen().join('\n'),
    );
  }
}

describeIsolated('watch', () => {
  useNetwork({ range: [20000, 20003], addresses: [SOURCE6, ...V6] });
  beforeEach(() => echoServer(SERVER, '::'));

  test('what comes and goes, the order, and the screen from before', async () => {
    const [A, B] = ['127.0.0.2', '127.0.0.3'] as const;
    const tmux = new Tmux(130, 10);
    try {
      tmux.keys(`"echo before; ${process.execPath} ${CLI} watch --interval 0.1"`, 'Enter');
      await tmux.shows(/connectx watch {2}no groups, by full/);
      const sockets = [await to(A), await to(A), await to(B)];
      // The process is this one.
      await tmux.shows(
        new RegExp(
          `127\\.0\\.0\\.2:5353 +2 +0 +4 +50 % .* \\(${process.pid}\\) +#+\\.+\\n.*127\\.0\\.0\\.3:5353 +1 .* 25 %`,
        ),
      );
      tmux.keys('d');
      await tmux.shows(/by destination/);
      sockets.push(await to(B), await to(B), await to(B));
      await tmux.shows(/127\.0\.0\.2:5353.*\n.*127\.0\.0\.3:5353 +4 +0 +4 +100 % /);
      await tmux.shows(/, [\d.]+ connects\/s/);
      for (const socket of sockets) socket.resetAndDestroy();
      await tmux.shows(/no groups/);
      tmux.keys('q');
      await tmux.shows(/^.*before/);
    } finally {
      tmux.run('kill-server');
    }
  });

  describe.each([
    { columns: 80, rows: 24 },
    { columns: 40, rows: 12 },
    { columns: 200, rows: 50 },
  ])('60 destinations of both families in $columns x $rows', ({ columns, rows }) => {
    test(
      'every one is reached, under its whole name, and the keys scroll',
      { timeout: 60_000 * slowness },
      async () => {
        for (const host of [...V4, ...V6]) await to(host);
        const tmux = new Tmux(columns, rows);
        try {
          tmux.keys(`"exec ${process.execPath} ${CLI} watch -i 0.2"`, 'Enter');
          await tmux.shows(/1-\d+ of 60, by full/);
          tmux.keys('d');
          await tmux.shows(/by destination/);
          let text = '';
          for (let last = 0, first = 0; last < 60;) {
            const lines = tmux.screen();
            const [, from, end] = /(\d+)-(\d+) of 60/.exec(lines[0] ?? '') ?? [];
            expect(lines.length).toBeLessThanOrEqual(rows);
            expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
            expect(lines.at(-1)).toMatch(/^q quit.*scroll/);
            // A page goes on where the one before has ended.
            expect(Number(from)).toBeLessThanOrEqual(last + 1);
            text += lines.slice(1, -1).join('').replaceAll(/\s/g, '');
            last = Number(end);
            if (last === 60) break;
            tmux.keys('PageDown');
            const before = first;
            first = Number(from);
            await until(() => Number(/(\d+)-\d+ of 60/.exec(tmux.screen()[0] ?? '')?.[1]) > Math.max(first, before));
          }
          expect(ENDS.filter((end) => !text.includes(end))).toEqual([]);
          tmux.keys('Home');
          await tmux.shows(/1-\d+ of 60/);
          tmux.keys('Down');
          await tmux.shows(/2-\d+ of 60/);
          tmux.keys('Up', 'Up');
          await tmux.shows(/1-\d+ of 60/);
          tmux.keys('End');
          await tmux.shows(/\d+-60 of 60/);
          // Only what is shown can be sorted by.
          tmux.keys('t');
          if (tmux.screen().join('\n').includes('TIME-WAIT')) await tmux.shows(/by TIME-WAIT/);
          else {
            // Several samples later.
            await new Promise((resolve) => setTimeout(resolve, 500));
            expect(tmux.screen()[0]).toMatch(/by destination/);
          }
          tmux.run('resize-window -t watch -x 60 -y 15');
          await tmux.shows(/^.*\d+-\d+ of 60.*\n(.*\n){13}q quit/);
        } finally {
          tmux.run('kill-server');
        }
      },
    );
  });

  test('without a terminal: -n as tables, --json as lines, of the groups that are asked for', async () => {
    for (const host of ['127.0.0.2', '127.0.0.2', '127.0.0.3']) await to(host);
    const text = await runCli(['watch', '-n', '2', '--interval', '0.1', '--destination', '127.0.0.2']);
    expect({ code: text.code, stderr: text.stderr }).toEqual({ code: 0, stderr: '' });
    expect(text.stdout).not.toContain('127.0.0.3');
    expect(text.stdout.match(/^\d{4}-\d\d-\d\dT\S+ {2}1 groups/gm)).toHaveLength(2);
    expect(text.stdout.match(/127\.0\.0\.2:5353 +2 .* 50 % /g)).toHaveLength(2);
    const json = await runCli(['watch', '--json', '-n', '2', '--interval', '0.1']);
    const samples = json.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const group = {
      remoteAddress: '127.0.0.2',
      used: 2,
      ratio: 0.5,
      process: expect.stringContaining(`(${process.pid})`),
    };
    expect(samples).toMatchObject([
      { connectsPerSecond: null, groups: [{ ...group, growthPerSecond: null, secondsUntilFull: null }, {}] },
      { connectsPerSecond: 0, groups: [{ ...group, growthPerSecond: 0, secondsUntilFull: null }, {}] },
    ]);
  });
});
