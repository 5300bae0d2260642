// The command `connectx`, as a program.
import { spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'connectx';
import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { CLI, runCli, runProgram } from '../helpers/cli.js';
import { SERVER, smallNetwork } from '../helpers/families.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { connected, echoServer, track } from '../helpers/sockets.js';

const [A, B, SOURCE] = ['127.0.0.2', '127.0.0.3', '127.0.0.1'] as const;
const to = (host: string) => connected(connect({ host, port: SERVER, localAddress: SOURCE }));

describe('the command line', () => {
  test('help and version', async () => {
    for (const args of [['--help'], ['-h'], ['help']]) {
      const { code, stdout, stderr } = await runCli(args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      for (const { name } of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'));
    }
    for (const args of [['--version'], ['-V']]) {
      expect(await runCli(args)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    }
  });

  test.each(COMMANDS.map((command) => [command.name, command] as const))(
    'help of %s is about it, and about nothing else',
    async (name, { options }) => {
      const { code, stdout, stderr } = await runCli([name, '-h']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout.startsWith(`usage: connectx ${name} `)).toBe(true);
      for (const option of options) expect(stdout).toContain(`--${option.name}`);
      const others = COMMANDS.filter((command) => command.name !== name).map(
        (command) => `usage: connectx ${command.name}`,
      );
      expect(others.filter((text) => stdout.includes(text))).toEqual([]);
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
      expect(await runCli([name, '--json', '--help'])).toMatchObject({ code: 0, stdout });
      expect(await runCli(['help', name])).toMatchObject({ code: 0, stdout });
    },
  );

  // The arguments, and what the message says: the option as it was typed.
  test.each([
    [[], 'which command?'],
    [['nothing'], 'there is no command nothing'],
    [['toString'], 'there is no command toString'],
    [['--what'], 'there is no option --what'],
    [['usage', '--what'], 'there is no option --what'],
    [['usage', '-x'], 'there is no option -x'],
    [['usage', 'more'], "'more' was given"],
    [['usage', '--json', '--prometheus'], '--json or --prometheus'],
    [['usage', '--json=yes'], '--json takes no value'],
    [['usage', '--threshold', '101'], "--threshold must be a number from 0 to 100, and is '101'"],
    [['usage', '--threshold', ''], '--threshold must be'],
    [['usage', '--threshold'], '--threshold needs a value, PCT'],
    [['usage', '--threshold', '--json'], '--threshold needs a value, PCT, and --json follows'],
    [['usage', '--limit', '1.5'], "--limit must be a whole number from 1 to 1000000000, and is '1.5'"],
    [['usage', '--limit', '1', '--limit', '2'], '--limit is given twice'],
    [['usage', '-o'], '-o needs a value, FILE'],
    [['usage', '--source', 'localhost'], "--source must be an address or a CIDR block, and is 'localhost'"],
    [['usage', '--source', '10.0.0.0/33'], '--source must be'],
    [['usage', '--destination', '1.2.3'], '--destination must be'],
    [['usage', '--destination', 'a/8'], '--destination must be'],
    [['usage', '--destination', '127.0.0.1:0'], 'the port of --destination must be'],
    [['usage', '--destination', '127.0.0.1:1', '--port', '2'], '--port 2 and --destination 127.0.0.1:1 exclude'],
    [['usage', '--protocol', 'sctp'], "--protocol must be tcp or udp, and is 'sctp'"],
    [['usage', '--port', '0'], '--port must be'],
    [['watch'], '-n COUNT or --json'],
    [['watch', '-n', 'x'], "-n must be a whole number from 1 to 1000000000, and is 'x'"],
    [['watch', '--count=0'], '--count must be'],
    [['watch', '-i', '0'], '-i must be'],
    [['doctor', '--range', '9-1'], '--range must be LOW-HIGH'],
    [['doctor', '--reserve', '9'], '--reserve must be LOW-HIGH'],
    [['exporter', '-l', ':9469'], '-l must be ADDR:PORT with a numeric address'],
    [['exporter', '--listen', 'localhost:1'], '--listen must be'],
    [['connect', 'host'], 'HOST and PORT'],
    [['connect', '--local', '::1:x', '127.0.0.1', '1'], "--local must be ADDR[:PORT], and is '::1:x'"],
    [['connect', '--local', 'localhost', '127.0.0.1', '1'], '--local must be'],
    [['connect', '127.0.0.1', '0'], 'PORT must be'],
  ])('%j makes no sense', async (args, message) => {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
    expect(stderr).toMatch(/^connectx: .*\nSee connectx (\w+ )?--help.\n$/);
    expect(stderr).toContain(message);
  });

  test('a name that is not known is a failure, and says whose', async () => {
    const { code, stderr } = await runCli(['usage', '--destination', 'name.invalid:443']);
    expect(code).toBe(3);
    expect(stderr).toMatch(/^connectx: --destination name\.invalid: getaddrinfo E\w+ name\.invalid\n$/);
  });

  test('without the addon it says so, and where', async () => {
    const env = { CONNECTX_DISABLE_NATIVE: '1' };
    for (const args of [['usage'], ['watch', '-n', '1'], ['exporter']]) {
      const { code, stdout, stderr } = await runCli(args, '', env);
      expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
      expect(stderr).toMatch(/^connectx: [\w -]+ is not supported here: CONNECTX_DISABLE_NATIVE is set\n$/);
    }
  });
});

describeIsolated('in a network', () => {
  useNetwork(smallNetwork);

  test('usage', async () => {
    await echoServer(SERVER, '0.0.0.0');
    for (const host of [A, A, A, B]) await to(host);
    const { code, stdout, stderr } = await runCli(['usage']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      'PROTO  SOURCE     DESTINATION     USED  TIME-WAIT  CAPACITY  FULL',
      'tcp    127.0.0.1  127.0.0.2:5353     3          0         4  75 %',
      'tcp    127.0.0.1  127.0.0.3:5353     1          0         4  25 %',
      '',
    ]);
    const filtered = await runCli(['usage', '--json', '--destination', B, '--port', `${SERVER}`, '--protocol', 'tcp']);
    expect(JSON.parse(filtered.stdout)).toMatchObject([{ remoteAddress: B, used: 1, ratio: 0.25 }]);
    expect((await runCli(['usage', '--prometheus'])).stdout).toContain(
      `remote_address="${A}",remote_port="5353"} 0.75\n`,
    );
    expect(await runCli(['usage', '--threshold', '76'])).toMatchObject({ code: 0 });
    expect(await runCli(['usage', '--threshold', '75'])).toMatchObject({ code: 2, stdout });
  });

  test('usage of some destinations: blocks, ends, names, of both families', async () => {
    await echoServer(SERVER, '::');
    const V6 = ['2001:db8::2', '2001:db8::3'] as const;
    for (const host of [A, B]) await to(host);
    for (const host of V6) await connected(connect({ host, port: SERVER, localAddress: '2001:db8::1' }));
    const found = async (...args: string[]) => {
      const { code, stdout, stderr } = await runCli(['usage', '--json', ...args]);
      expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
      return (JSON.parse(stdout) as { remoteAddress: string }[]).map(({ remoteAddress }) => remoteAddress).sort();
    };
    expect(await found()).toEqual([A, B, ...V6]);
    expect(await found('--destination', '127.0.0.2/31')).toEqual([A, B]);
    expect(await found('--destination', '127.0.0.3/32')).toEqual([B]);
    expect(await found('--destination', '0.0.0.0/0')).toEqual([A, B]);
    expect(await found('--destination', '2001:db8::/126')).toEqual(V6);
    expect(await found('--destination', '::ffff:127.0.0.2')).toEqual([A]);
    expect(await found('--destination', `${A}:${SERVER}`)).toEqual([A]);
    expect(await found('--destination', `${A}:1`)).toEqual([]);
    expect(await found('--destination', `[2001:db8::2]:${SERVER}`)).toEqual([V6[0]]);
    expect(await found('--destination', '2001:db8::2', '--port', `${SERVER}`)).toEqual([V6[0]]);
    expect(await found('--source', '2001:db8::/64')).toEqual(V6);
    expect(await found('--source', '127.0.0.1')).toEqual([A, B]);
    expect(await found('--source', '127.0.0.8/29')).toEqual([]);
  });

  test('usage of a name: all of its addresses', async () => {
    await echoServer(SERVER, '::');
    await to('127.0.0.1');
    await to(A);
    const { stdout } = await runCli(['usage', '--json', '--destination', `localhost:${SERVER}`]);
    expect(JSON.parse(stdout)).toMatchObject([{ remoteAddress: '127.0.0.1' }]);
  });

  test('usage --limit: the fullest, and the sum of the rest; the threshold looks at all', async () => {
    await echoServer(SERVER, '0.0.0.0');
    for (const host of [A, A, A, B, B, '127.0.0.4']) await to(host);
    const table = (await runCli(['usage', '--limit', '1'])).stdout.split('\n');
    expect(table).toHaveLength(4);
    expect(table.slice(1, 3)).toEqual([
      expect.stringContaining(`${A}:5353`),
      '2 more tcp groups: 3 ports in use, 0 in TIME-WAIT, the fullest 50 %',
    ]);
    const json: unknown = JSON.parse((await runCli(['usage', '--limit', '1', '--json'])).stdout);
    const rest = { protocol: 'tcp', remoteAddress: null, used: 3, timeWait: 0, capacity: null, ratio: 0.5, groups: 2 };
    expect(json).toMatchObject([{ remoteAddress: A, used: 3 }, rest]);
    const text = (await runCli(['usage', '--limit', '1', '--prometheus'])).stdout;
    expect(text.match(/^connectx_ports_used\{/gm)).toHaveLength(1);
    expect(text).toContain('connectx_ports_rest_used{protocol="tcp"} 3\n');
    expect(text).toContain('connectx_ports_rest_groups{protocol="udp"} 0\n');
    expect(await runCli(['usage', '--limit', '3'])).toMatchObject({ stdout: expect.not.stringContaining('more') });
    expect(await runCli(['usage', '--limit', '1', '--threshold', '50', '--destination', B])).toMatchObject({ code: 2 });
  });

  test('usage --output: the file as a whole, or as it was', async () => {
    await echoServer(SERVER, '0.0.0.0');
    await to(A);
    const folder = folderWith({ 'old.prom': 'old\n' });
    const file = join(folder, 'old.prom');
    const { stdout: text } = await runCli(['usage', '--prometheus']);
    expect(await runCli(['usage', '--prometheus', '--output', file])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(readFileSync(file, 'utf8')).toBe(text);
    expect(readdirSync(folder)).toEqual(['old.prom']);
    // Whoever could read it can go on to, and nobody else.
    expect(statSync(file).mode & 0o777).toBe(0o644);
    for (const [where, why] of [
      [join(folder, 'no', 'x.prom'), 'ENOENT'],
      [folder, 'no regular file'],
      ['/dev/null', 'no regular file'],
    ] as const) {
      const { code, stdout, stderr } = await runCli(['usage', '-o', where]);
      expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
      expect(stderr).toMatch(new RegExp(`^connectx: -o ${where}: .*${why}.*\\n$`));
    }
    expect(existsSync('/dev/null') && !statSync('/dev/null').isFile()).toBe(true);
  });

  test('usage on a full disk: what was there stays, nothing lies beside it, and the message has no stack', async () => {
    need('mount');
    await echoServer(SERVER, '0.0.0.0');
    for (const host of [A, B]) await to(host);
    const folder = folderWith();
    const within = (command: string) =>
      runProgram([
        'unshare',
        '-m',
        'sh',
        '-c',
        `mount -t tmpfs -o size=8k none ${folder} && cd ${folder} && echo old > old.prom && ${command}`,
      ]);
    // One page for the old file, and none for another that is as long.
    const fill = 'head -c 4096 /dev/zero > rest';
    const usage = `${process.execPath} ${CLI} usage --prometheus`;
    const file = await within(`${fill}; ${usage} --output old.prom; echo $?; cat old.prom; ls -A`);
    expect(file.stdout).toBe('3\nold\nold.prom\nrest\n');
    expect(file.stderr).toMatch(/^connectx: --output old\.prom: ENOSPC: [^\n]*\n$/);
    const standard = await within(`${fill}; ${usage} > out; echo $?`);
    expect(standard.stdout).toBe('3\n');
    expect(standard.stderr).toMatch(/^connectx: standard output: [^\n]*ENOSPC[^\n]*\n$/);
    // The control: with room for it, it is replaced.
    expect((await within(`${usage} --output old.prom; echo $?; head -c 6 old.prom`)).stdout).toBe('0\n# HELP');
  });

  test('usage without /proc/sys: what was missing, and where', async () => {
    need('mount');
    const { code, stdout, stderr } = await runProgram([
      'unshare',
      '-m',
      'sh',
      '-c',
      `mount -t tmpfs none /proc/sys && exec ${process.execPath} ${CLI} usage`,
    ]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toBe(
      'connectx: port-usage is not supported here: /proc/sys/net/ipv4/ip_local_port_range cannot be read: ENOENT\n',
    );
  });

  test('a reader that goes away is no failure', async () => {
    await echoServer(SERVER, '0.0.0.0');
    await to(A);
    const child = spawn(process.execPath, [CLI, 'usage'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    const [code] = (await once(child, 'close')) as [number];
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  test('connect, TCP and UDP, from exactly that 4-tuple', async () => {
    const server = await echoServer(SERVER, A);
    const ports: (number | undefined)[] = [];
    server.on('connection', (socket) => ports.push(socket.remotePort));
    const args = ['connect', '--verbose', '--local', `${SOURCE}:20002`];
    expect(await runCli([...args, A, `${SERVER}`], 'hello')).toEqual({
      code: 0,
      stdout: 'hello',
      stderr: '127.0.0.1 20002 -> 127.0.0.2 5353\n',
    });
    expect(ports).toEqual([20002]);
    const peer = track(dgram.createSocket('udp4'));
    peer.on('message', (message, { port, address }) => peer.send(`${port} ${message.toString()}`, port, address));
    peer.bind(SERVER, A);
    await once(peer, 'listening');
    const udp = await runCli([...args, '--udp', '--wait', '0.5', A, `${SERVER}`], 'hello');
    expect(udp).toMatchObject({ code: 0, stdout: '20002 hello' });
    expect(await runCli(['connect', A, '9'])).toMatchObject({ code: 3, stderr: expect.stringMatching(/ECONNREFUSED/) });
  });
});
