// `connectx doctor`, as a program.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import { connect } from 'connectx';
import { expect, test } from 'vitest';
import { CLI, runCli, runProgram } from '../helpers/cli.js';
import { SERVER, smallNetwork } from '../helpers/families.js';
import { DEVICE_INDEX, hasCgroups, inCgroup, leftOutWithoutCgroups, SERVICE } from '../helpers/cgroup.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, OUTSIDE, shell, sysctl, useNetwork } from '../helpers/netns.js';
import { connected, echoServer, errorOf, track } from '../helpers/sockets.js';

const [A, SOURCE] = ['127.0.0.2', '127.0.0.1'] as const;
const to = (host: string) => connected(connect({ host, port: SERVER, localAddress: SOURCE }));

interface Check {
  name: string;
  level: string;
  message: string;
  remedy?: string;
  lasting?: string;
}

/** What the doctor says in JSON. */
async function checks(...args: string[]): Promise<Check[]> {
  const { stdout, stderr } = await runCli(['doctor', '--json', ...args]);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Check[];
}

describeIsolated('doctor', () => {
  useNetwork(smallNetwork);

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
    const { code, stdout } = await runCli(['doctor']);
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
    expect((await runCli(['doctor'])).stdout).toMatch(/no listener inside the range/);
  });

  test('doctor: two addresses of one server, which does not answer a port that it has already', async () => {
    sysctl('ipv4.ip_local_port_range', '20000 20015');
    for (const command of OUTSIDE) shell(command);
    const [one, other, localAddress] = ['198.51.100.1', '198.51.100.2', '192.0.2.1'];
    for (const address of [one, other]) shell(`ip addr add ${address}/32 dev lo`);
    await echoServer(SERVER, '0.0.0.0');
    const open = (host: string, localPort: number) => connect({ host, port: SERVER, localAddress, localPort });
    for (let n = 0; n < 5; n++) {
      await connected(open(one, 20000 + n));
      await connected(open(other, 20008 + n));
    }
    const shared = async () => (await checks()).filter(({ name }) => name === 'shared-ports');
    expect(await shared()).toMatchObject([{ level: 'ok' }]);
    // What is sent there from now on is lost.
    shell(`ip addr del ${one}/32 dev lo`);
    shell(`ip route add ${one}/32 dev v0`);
    shell(`ip neigh replace ${one} lladdr 02:00:00:00:00:99 dev v0 nud permanent`);
    const attempts = Array.from({ length: 5 }, (_, n) => once(track(open(one, 20008 + n)), 'connectionAttempt'));
    await Promise.all(attempts);
    const [finding] = await shared();
    expect(finding).toMatchObject({ level: 'finding', remedy: expect.stringContaining('portSlice') as string });
    expect(finding?.message).toMatch(
      new RegExp(`^5 connects from ${localAddress} to ${one} port ${SERVER} .* ${other},`),
    );
  });

  test('doctor: the name of a process gives the terminal no orders, and forges no line', async () => {
    const { title } = process;
    // What /proc/<pid>/comm has, everybody chooses for their own processes.
    process.title = '\x1b[2J\nok \x9b\x7f';
    try {
      expect(readFileSync('/proc/self/comm', 'utf8')).toContain('\x1b[2J\nok');
      sysctl('ipv4.ip_local_port_range', '34567 34567');
      await echoServer(34567, SOURCE);
      const { code, stdout } = await runCli(['doctor']);
      expect(code).toBe(1);
      expect(stdout).toContain('\\x1b[2J\\x0aok');
      expect(stdout).not.toMatch(/[^\n\P{Cc}]/u);
      const { stdout: json } = await runCli(['doctor', '--json']);
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
    expect(await runCli(['doctor'])).toMatchObject({ code: 0, stderr: '' });
    const wider = await runCli(['doctor', '--range', '1024-65000', '--json']);
    expect(wider.code).toBe(1);
    const findings = (JSON.parse(wider.stdout) as { level: string }[]).filter(({ level }) => level === 'finding');
    expect(findings).toMatchObject([{ name: 'conflicts', remedy: expect.stringMatching(/reserved_ports=5353$/) }]);
    sysctl('ipv4.tcp_tw_reuse', 0);
    sysctl('ipv4.tcp_timestamps', 0);
    const { code, stdout } = await runCli(['doctor']);
    expect(code).toBe(1);
    expect(stdout).toContain('-> sysctl -w net.ipv4.tcp_tw_reuse=1');
    expect(stdout).toContain('-> sysctl -w net.ipv4.tcp_timestamps=1');
  });

  test('doctor: a destination that is nearly full', async () => {
    await echoServer(SERVER, '0.0.0.0');
    for (let n = 0; n < 4; n++) await to(A);
    expect((await runCli(['doctor'])).stdout).toMatch(
      /FINDING {2}tcp 127\.0\.0\.1 to 127\.0\.0\.2 port 5353: 4 of 4 ports/,
    );
  });

  test('every finding has its remedy, and a sysctl one for good too, which sysctl accepts', async () => {
    sysctl('ipv4.tcp_tw_reuse', 0);
    sysctl('ipv4.tcp_timestamps', 0);
    await echoServer(20001, SOURCE);
    const found = (await checks('--reserve', '20000-20003')).filter(({ level }) => level === 'finding');
    expect(found.map(({ name }) => name).sort()).toEqual([
      'conflicts',
      'range',
      'reserve',
      'tcp_timestamps',
      'tcp_tw_reuse',
    ]);
    for (const { name, remedy, lasting } of found) {
      expect([name, remedy, lasting]).toEqual([
        name,
        expect.stringMatching(/^sysctl -w [\w.]+=/),
        expect.stringMatching(/^echo '[\w.]+ = .*' >> \/etc\/sysctl\.d\/90-connectx\.conf$/),
      ]);
      shell((remedy ?? '').replace(/ \(or .*/, ''));
      const [, line = ''] = /^echo '(.*)' >>/.exec(lasting ?? '') ?? [];
      shell(`echo '${line}' | sysctl -p -`);
    }
    const after = await checks('--reserve', '20000-20003');
    expect(after.filter(({ level }) => level === 'finding')).toEqual([]);
  });

  test('--reserve: ports that nobody listens on are reserved together with those of listeners', async () => {
    sysctl('ipv4.ip_local_port_range', '1024 60999');
    sysctl('ipv4.ip_local_reserved_ports', '8080');
    const nodePorts = (await checks()).find(({ name }) => name === 'reserve');
    expect(nodePorts).toMatchObject({ level: 'note', remedy: expect.stringContaining('--reserve 30000-32767') });
    await echoServer(SERVER, SOURCE);
    const found = (await checks('--reserve', '30000-32767')).filter(({ level }) => level === 'finding');
    expect(found).toMatchObject([
      {
        name: 'reserve',
        message: expect.stringMatching(/^2768 of the ports 30000-32767/),
        remedy: expect.stringMatching(/=8080,30000-32767$/),
      },
      { name: 'conflicts', remedy: expect.stringMatching(/=5353,8080,30000-32767$/) },
    ]);
    shell(found[1]?.remedy ?? 'false');
    expect((await checks('--reserve', '30000-32767')).filter(({ level }) => level === 'finding')).toEqual([]);
  });

  test('limits that are near', async () => {
    need('prlimit', 'sysctl');
    sysctl('ipv4.ip_local_port_range', '32768 60999');
    sysctl('ipv4.tcp_tw_reuse_delay', 5000);
    const limited = await runProgram(['prlimit', '--nofile=1000', process.execPath, CLI, 'doctor', '--json']);
    const found = JSON.parse(limited.stdout) as Check[];
    expect(found.find(({ name }) => name === 'descriptors')).toMatchObject({
      level: 'note',
      message: expect.stringContaining('may have 1000 descriptors'),
      lasting: expect.stringContaining('LimitNOFILE='),
    });
    expect(found.find(({ name }) => name === 'tcp_tw_reuse_delay')).toMatchObject({
      level: 'note',
      message: expect.stringContaining('5000 ms'),
    });
    for (const name of ['file-max', 'udp_mem', 'conntrack', 'vrf', 'socket-load-balancing', 'kernel-6.18']) {
      expect(found.map((check) => check.name)).toContain(name);
    }
  });

  test('without /proc/sys, each thing that cannot be read is a finding', async () => {
    need('mount');
    const { code, stdout, stderr } = await runProgram([
      'unshare',
      '-m',
      'sh',
      '-c',
      `mount -t tmpfs none /proc/sys && exec ${process.execPath} ${CLI} doctor --json`,
    ]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    const found = (JSON.parse(stdout) as Check[]).filter(({ level }) => level === 'finding');
    const names = found.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['range', 'tcp_tw_reuse', 'tcp_timestamps', 'file-max', 'udp_mem', 'conflicts', 'usage']),
    );
    for (const { message } of found) expect(message).toMatch(/\/proc\/sys\/\S+ cannot be read/);
  });

  test('without the addon, what needs none is looked at all the same', async () => {
    const { code, stdout, stderr } = await runCli(['doctor', '--json'], '', { CONNECTX_DISABLE_NATIVE: '1' });
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    const [first, ...rest] = JSON.parse(stdout) as Check[];
    expect(first).toMatchObject({
      name: 'addon',
      level: 'finding',
      message: expect.stringContaining('CONNECTX_DISABLE_NATIVE is set'),
    });
    expect(rest.map(({ name }) => name)).toEqual(expect.arrayContaining(['tcp_tw_reuse', 'descriptors', 'kernel-6.3']));
  });

  test('socket load balancing: a service address that is connected as it is, and Cilium by its devices', async () => {
    const of = async (env: NodeJS.ProcessEnv) => {
      const { stdout } = await runCli(['doctor', '--json'], '', env);
      return (JSON.parse(stdout) as Check[]).find(({ name }) => name === 'socket-load-balancing');
    };
    expect(await of({})).toMatchObject({ level: 'ok', message: 'no sign of socket load balancing' });
    const service = { KUBERNETES_SERVICE_HOST: A, KUBERNETES_SERVICE_PORT: '443' };
    expect(await of(service)).toMatchObject({ level: 'ok', message: expect.stringContaining(`${A} go there`) });
    expect(await of({ ...service, KUBERNETES_SERVICE_HOST: '2001:db8::2' })).toMatchObject({ level: 'ok' });
    // What it cannot find out is a finding.
    expect(await of({ ...service, KUBERNETES_SERVICE_HOST: '203.0.113.1' })).toMatchObject({ level: 'finding' });
    shell('ip link add cilium_host type veth peer name cilium_net');
    expect(await of({})).toMatchObject({ level: 'note', message: expect.stringContaining('Cilium is here') });
  });

  test.skipIf(!hasCgroups)(
    `socket load balancing: what is rewritten inside connect(2)${leftOutWithoutCgroups}`,
    async () => {
      for (const address of [SERVICE[4].address, SERVICE[6].address]) {
        shell(`ip addr add ${address}/${address.includes(':') ? '128 dev lo nodad' : '32 dev lo'}`);
        const [command, args] = inCgroup('service', [process.execPath, CLI, 'doctor', '--json']);
        const service = { KUBERNETES_SERVICE_HOST: address, KUBERNETES_SERVICE_PORT: '443' };
        const { stdout } = await runProgram([command, ...args], '', service);
        const found = (JSON.parse(stdout) as Check[]).find(({ name }) => name === 'socket-load-balancing');
        expect(found).toMatchObject({ level: 'note', message: expect.stringContaining('replaces service addresses') });
      }
    },
  );

  test('VRF: the devices of this network', async () => {
    need('mount');
    const found = async () => {
      const script = `mount -t sysfs none /sys && exec ${process.execPath} ${CLI} doctor --json`;
      const { stdout } = await runProgram(['unshare', '-m', 'sh', '-ec', script]);
      return (JSON.parse(stdout) as Check[]).find(({ name }) => name === 'vrf');
    };
    expect(await found()).toMatchObject({ level: 'ok', message: 'no VRF' });
    const made = await runProgram(['ip', 'link', 'add', 'blue', 'type', 'vrf', 'table', '100']);
    // A kernel without VRFs says so.
    if (made.code !== 0) expect(made.stderr).toMatch(/Unknown device type|not supported/);
    else expect(await found()).toMatchObject({ level: 'note', message: expect.stringContaining('VRF blue: ') });
  });

  test.skipIf(!hasCgroups)(`sockets that are born bound to a device${leftOutWithoutCgroups}`, async () => {
    shell(`ip link add born index ${DEVICE_INDEX} type veth peer name other && ip link set born up`);
    const [command, args] = inCgroup('device', [process.execPath, CLI, 'doctor', '--json']);
    const { stdout } = await runProgram([command, ...args]);
    const found = (JSON.parse(stdout) as Check[]).find(({ name }) => name === 'vrf');
    expect(found).toMatchObject({ level: 'note', message: expect.stringContaining('born bound to born:') });
  });
});
