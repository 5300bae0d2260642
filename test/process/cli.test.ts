// The command `connectx`, as a program.
import { execFile, spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import { connect, PortMonitor, type PortUsage } from 'connectx';
import { collectPortUsage } from 'connectx/metrics';
import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { plainEnvironment } from '../helpers/environment.js';
import { SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, shell, sysctl, useNetwork } from '../helpers/netns.js';
import { folderWith, leftOutWithout } from '../helpers/programs.js';
import { connected, echoServer, errorOf, track, until } from '../helpers/sockets.js';

const CLI = join(import.meta.dirname, '../../dist/cli.js');

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

function run(args: readonly string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env }, timeout: 20_000 };
    const child = execFile(process.execPath, [CLI, ...args], options, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr });
    });
    child.stdin?.end(input);
  });
}

const [A, B, SOURCE] = ['127.0.0.2', '127.0.0.3', '127.0.0.1'] as const;
const to = (host: string) => connected(connect({ host, port: SERVER, localAddress: SOURCE }));

describe('the command line', () => {
  test('help and version', async () => {
    for (const args of [['--help'], ['usage', '--help']]) {
      expect(await run(args)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^usage: connectx/), stderr: '' });
    }
    expect(await run(['--version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  });

  test.each([
    [[]],
    [['nothing']],
    [['toString']],
    [['usage', '--what']],
    [['usage', '--json', '--prometheus']],
    [['usage', '--threshold', '101']],
    [['usage', '--threshold', '']],
    [['usage', '--source', 'localhost']],
    [['usage', '--protocol', 'sctp']],
    [['watch']],
    [['doctor', '--range', '9-1']],
    [['connect', 'host']],
    [['connect', '--local', '::1:x', '127.0.0.1', '1']],
    [['connect', '127.0.0.1', '0']],
  ])('%j makes no sense', async (args) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
    expect(stderr).toMatch(/^connectx: .*\nSee connectx --help.\n$/);
  });
});

describeIsolated('in a network', () => {
  useNetwork(smallNetwork);

  test('usage', async () => {
    await echoServer(SERVER, '0.0.0.0');
    for (const host of [A, A, A, B]) await to(host);
    const { code, stdout, stderr } = await run(['usage']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      'PROTO  SOURCE     DESTINATION     USED  TIME-WAIT  CAPACITY  FULL',
      'tcp    127.0.0.1  127.0.0.2:5353     3          0         4  75 %',
      'tcp    127.0.0.1  127.0.0.3:5353     1          0         4  25 %',
      '',
    ]);
    const filtered = await run(['usage', '--json', '--destination', B, '--port', `${SERVER}`, '--protocol', 'tcp']);
    expect(JSON.parse(filtered.stdout)).toMatchObject([{ remoteAddress: B, used: 1, ratio: 0.25 }]);
    expect((await run(['usage', '--prometheus'])).stdout).toContain(`remote_address="${A}",remote_port="5353"} 0.75\n`);
    expect(await run(['usage', '--threshold', '76'])).toMatchObject({ code: 0 });
    expect(await run(['usage', '--threshold', '75'])).toMatchObject({ code: 2, stdout });
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

  // "A server statically on 34567, and an outgoing connection that took that port first."
  test('doctor names the conflict beforehand, and after its line it cannot happen', async () => {
    sysctl('ipv4.ip_local_port_range', '34567 34567');
    sysctl('ipv4.ip_local_reserved_ports', '8080');
    await echoServer(SERVER, '0.0.0.0');
    const start = async () => {
      const server = track(net.createServer());
      server.listen(34567, SOURCE);
      await once(server, 'listening');
      return server;
    };
    // Without the reservation it does happen.
    const first = await connected(net.connect({ host: A, port: SERVER }));
    expect(first.localPort).toBe(34567);
    expect(await errorOf(start)).toMatchObject({ code: 'EADDRINUSE' });
    first.resetAndDestroy();
    await once(first, 'close');

    const server = await start();
    const { code, stdout } = await run(['doctor']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^FINDING {2}tcp 127\.0\.0\.1:34567: .*\(\d+\) listens inside the range/m);
    const [, line = ''] = /-> (sysctl -w net\.ipv4\.ip_local_reserved_ports=.*)/.exec(stdout) ?? [];
    expect(line).toBe('sysctl -w net.ipv4.ip_local_reserved_ports=8080,34567');
    server.close();
    await once(server, 'close');
    sysctl('ipv4.ip_local_port_range', '34566 34567');
    shell(line);
    await to(A);
    expect(await errorOf(() => to(A))).toMatchObject({ reason: 'ports-exhausted' });
    await start();
    expect((await run(['doctor'])).stdout).toMatch(/no listener inside the range/);
  });

  test('doctor: the name of a process gives the terminal no orders, and forges no line', async () => {
    const { title } = process;
    // What /proc/<pid>/comm has, everybody chooses for their own processes.
    process.title = '\x1b[2J\nok \x9b\x7f';
    try {
      expect(readFileSync('/proc/self/comm', 'utf8')).toContain('\x1b[2J\nok');
      sysctl('ipv4.ip_local_port_range', '34567 34567');
      await echoServer(34567, SOURCE);
      const { code, stdout } = await run(['doctor']);
      expect(code).toBe(1);
      expect(stdout).toContain('\\x1b[2J\\x0aok');
      expect(stdout).not.toMatch(/[^\n\P{Cc}]/u);
      const { stdout: json } = await run(['doctor', '--json']);
      expect(JSON.stringify(JSON.parse(json))).toContain('\\u001b[2J');
      expect(json).not.toContain('\x1b');
    } finally {
      process.title = title;
    }
  });

  test('doctor: a wider range, and what is set in the kernel', async () => {
    sysctl('ipv4.ip_local_port_range', '32768 60999');
    await echoServer(SERVER, '0.0.0.0');
    sysctl('ipv4.tcp_tw_reuse', 1);
    expect(await run(['doctor'])).toMatchObject({ code: 0, stderr: '' });
    const wider = await run(['doctor', '--range', '1024-65000', '--json']);
    expect(wider.code).toBe(1);
    const findings = (JSON.parse(wider.stdout) as { level: string }[]).filter(({ level }) => level === 'finding');
    expect(findings).toMatchObject([{ name: 'conflicts', remedy: expect.stringMatching(/reserved_ports=5353$/) }]);
    sysctl('ipv4.tcp_tw_reuse', 0);
    sysctl('ipv4.tcp_timestamps', 0);
    const { code, stdout } = await run(['doctor']);
    expect(code).toBe(1);
    expect(stdout).toContain('-> sysctl -w net.ipv4.tcp_tw_reuse=1');
    expect(stdout).toContain('-> sysctl -w net.ipv4.tcp_timestamps=1');
  });

  test('doctor: a destination that is nearly full', async () => {
    await echoServer(SERVER, '0.0.0.0');
    for (let n = 0; n < 4; n++) await to(A);
    expect((await run(['doctor'])).stdout).toMatch(
      /FINDING {2}tcp 127\.0\.0\.1 to 127\.0\.0\.2 port 5353: 4 of 4 ports/,
    );
  });

  test('connect, TCP and UDP, from exactly that 4-tuple', async () => {
    const server = await echoServer(SERVER, A);
    const ports: (number | undefined)[] = [];
    server.on('connection', (socket) => ports.push(socket.remotePort));
    const args = ['connect', '--verbose', '--local', `${SOURCE}:20002`];
    expect(await run([...args, A, `${SERVER}`], 'hello')).toEqual({
      code: 0,
      stdout: 'hello',
      stderr: '127.0.0.1 20002 -> 127.0.0.2 5353\n',
    });
    expect(ports).toEqual([20002]);
    const peer = track(dgram.createSocket('udp4'));
    peer.on('message', (message, { port, address }) => peer.send(`${port} ${message.toString()}`, port, address));
    peer.bind(SERVER, A);
    await once(peer, 'listening');
    const udp = await run([...args, '--udp', '--wait', '0.5', A, `${SERVER}`], 'hello');
    expect(udp).toMatchObject({ code: 0, stdout: '20002 hello' });
    expect(await run(['connect', A, '9'])).toMatchObject({ code: 3, stderr: expect.stringMatching(/ECONNREFUSED/) });
  });

  test('metrics', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const register = new Registry();
    collectPortUsage({ register, limit: 1 });
    const line = (text: string) => text.split('\n').filter((one) => one.startsWith('connectx_ports_used{'));
    expect(line(await register.metrics())).toEqual([]);
    const sockets = [await to(A), await to(A), await to(B)];
    expect(line(await register.metrics())).toEqual([expect.stringMatching(/remote_address="127\.0\.0\.2".*\} 2$/)]);
    for (const socket of sockets) {
      socket.resetAndDestroy();
      await once(socket, 'close');
    }
    expect(line(await register.metrics())).toEqual([]);
    expect(() => collectPortUsage({ register })).toThrow(/already been registered/);
    expect(() => collectPortUsage({ limit: 0 })).toThrow(TypeError);
  });

  const tmux = leftOutWithout('tmux');
  test.skipIf(tmux !== '')(`watch${tmux}`, async () => {
    await echoServer(SERVER, '0.0.0.0');
    const folder = folderWith({});
    const tm = (command: string) => shell(`tmux -S ${folder}/socket ${command}`);
    const shows = (pattern: RegExp) =>
      until(
        () => pattern.test(tm('capture-pane -p -t watch')),
        () => tm('capture-pane -p -t watch'),
      );
    // A shell around it, so that there is a screen to come back to.
    tm(`-f /dev/null new-session -d -s watch -x 100 -y 10 sh`);
    try {
      tm(`send-keys -t watch "echo before; ${process.execPath} ${CLI} watch --interval 0.1" Enter`);
      await shows(/connectx watch {2}0 destinations, by fullest/);
      const sockets = [await to(A), await to(A), await to(B)];
      await shows(/127\.0\.0\.2:5353 +2 +0 +4 +50 % {2}#+\.+\n.*127\.0\.0\.3:5353 +1 .* 25 %/);
      tm('send-keys -t watch d');
      await shows(/by destination/);
      sockets.push(await to(B), await to(B), await to(B));
      await shows(/127\.0\.0\.2:5353.*\n.*127\.0\.0\.3:5353 +4 +0 +4 +100 % {2}#+ *\n/);
      tm('resize-window -t watch -x 40 -y 10');
      await shows(/^SOURCE +DESTINATION +USED +FULL$/m);
      for (const socket of sockets) socket.resetAndDestroy();
      await shows(/0 destinations/);
      tm('send-keys -t watch q');
      await shows(/before/);
    } finally {
      tm('kill-server');
    }
  });

  // "By default your OS will not give any warning."
  const haproxy = leftOutWithout('haproxy');
  test.skipIf(haproxy !== '')(`HAProxy: a warning before its first "no free ports"${haproxy}`, async () => {
    sysctl('ipv4.ip_local_port_range', '20000 20019');
    const backends = ['127.0.1.1', '127.0.1.2', '127.0.1.3', '127.0.1.4'];
    await echoServer(SERVER, '0.0.0.0');
    const folder = folderWith({
      'haproxy.cfg': `
global
  log stdout format raw local0
defaults
  mode tcp
  log global
  timeout connect 2s
  timeout client 1m
  timeout server 1m
  retries 0
listen relay
  bind 127.0.2.1:8080
  balance roundrobin
  source 127.0.2.2
${backends.map((ip, index) => `  server s${index} ${ip}:${SERVER}`).join('\n')}
`,
    });
    const proxy = spawn('haproxy', ['-db', '-f', join(folder, 'haproxy.cfg')], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainEnvironment(),
    });
    const monitor = new PortMonitor({ interval: 1, high: 0.8, filter: { localAddress: '127.0.2.2' } });
    try {
      let log = '';
      for (const stream of [proxy.stdout, proxy.stderr]) stream.on('data', (data: Buffer) => (log += data.toString()));
      await until(() => shell('ss -Htln sport = :8080') !== '');
      const high: PortUsage[] = [];
      monitor.on('high', (usage) => high.push(usage));
      // Long-lived connections from outside the range, so that they take nothing of it.
      let port = 30000;
      const client = async () => {
        const socket = track(
          net.connect({ host: '127.0.2.1', port: 8080, localAddress: '127.0.2.3', localPort: port++ }),
        );
        socket.on('error', () => {});
        await once(socket, 'connect');
        socket.write('x');
        await Promise.race([once(socket, 'data'), once(socket, 'close')]);
      };
      const exhausted = () => /no free ports|Cannot (bind|assign)|port exhaustion/i.test(log);
      const code = async () => (await run(['usage', '--threshold', '80', '--source', '127.0.2.2'])).code;
      for (let n = 0; n < 60; n++) await client();
      expect({ code: await code(), exhausted: exhausted() }).toEqual({ code: 0, exhausted: false });
      expect(high).toEqual([]);
      for (let n = 0; n < 4; n++) await client();
      expect({ code: await code(), exhausted: exhausted() }).toEqual({ code: 2, exhausted: false });
      await until(() => high.length === backends.length);
      expect(high[0]).toMatchObject({ used: 16, capacity: 20 });
      // And only then.
      for (let n = 0; n < 24 && !exhausted(); n++) await client();
      await until(exhausted, () => log.slice(-2000));
    } finally {
      await monitor.close();
      proxy.kill();
      await once(proxy, 'close');
    }
  });
});
