// `connectx exporter`, as a program.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as http from 'node:http';
import * as net from 'node:net';
import { connect } from 'connectx';
import { expect, test } from 'vitest';
import { runCli, runProgram } from '../helpers/cli.js';
import { Exporter, valueOf } from '../helpers/exporter.js';
import { SERVER, smallNetwork } from '../helpers/families.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, shell, sysctl, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { fixture } from '../helpers/run.js';
import { connected, echoServer, slowness, track } from '../helpers/sockets.js';

const [A, B, C, SOURCE] = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.1'] as const;
const to = (host: string) => connected(connect({ host, port: SERVER, localAddress: SOURCE }));
// The connections of the test to the exporter are in the table as well.
const EXPORTER = `remote_address="127.0.0.1"`;
const groups = (text: string) =>
  text.split('\n').filter((line) => line.startsWith('connectx_ports_used{') && !line.includes(EXPORTER));

/** Ten times as many every night. */
const SCRAPES = 100 * Number(process.env.CONNECTX_TEST_REPEAT ?? 1);

describeIsolated('exporter', () => {
  useNetwork({ ...smallNetwork, range: [20000, 20019] });

  test('ports in use, conflicts, limits and its own health; promtool finds nothing', async () => {
    await echoServer(SERVER, '0.0.0.0');
    await echoServer(20010, SOURCE);
    sysctl('ipv4.ip_local_reserved_ports', '20000,30000-30009');
    for (const host of [A, A, A, B]) await to(host);
    const exporter = await Exporter.start(folderWith(), ['--reserve', '20015-30009']);
    const text = await exporter.metrics();
    expect(groups(text)).toEqual([
      expect.stringMatching(/remote_address="127\.0\.0\.2",remote_port="5353"\} 3$/),
      expect.stringMatching(/remote_address="127\.0\.0\.3",remote_port="5353"\} 1$/),
    ]);
    expect(valueOf(text, 'connectx_up')).toBe(1);
    expect(valueOf(text, 'connectx_listener_conflicts{protocol="tcp"}')).toBe(1);
    expect(valueOf(text, 'connectx_listener_conflicts{protocol="udp"}')).toBe(0);
    expect(text).toMatch(/^connectx_listener_conflict_info\{protocol="tcp",.*local_port="20010",.*\} 1$/m);
    expect(valueOf(text, 'connectx_ephemeral_port_low')).toBe(20000);
    expect(valueOf(text, 'connectx_ephemeral_ports_assignable')).toBe(19);
    expect(valueOf(text, 'connectx_reserve_missing_ports')).toBe(5);
    for (const name of ['file_descriptors', 'time_wait_sockets']) {
      expect(valueOf(text, `connectx_${name}_max`)).toBeGreaterThan(valueOf(text, `connectx_${name}`) ?? NaN);
    }
    expect(valueOf(text, 'connectx_tcp_active_opens_total')).toBeGreaterThanOrEqual(4);
    expect(valueOf(text, 'connectx_exporter_scrapes_total')).toBe(1);
    expect(text).toMatch(/^connectx_exporter_build_info\{version="\d+\.\d+\.\d+.*",node="v\d+.*",kernel=".*"\} 1$/m);
    expect(await exporter.get('/healthz')).toEqual({ status: 200, text: 'ok\n' });
    expect(await exporter.get('/')).toMatchObject({ status: 200 });
    expect(await exporter.get('/nothing')).toMatchObject({ status: 404 });
    expect(await exporter.get('/metrics', { method: 'POST' })).toMatchObject({ status: 405 });
    expect(await exporter.get('/metrics', { method: 'HEAD' })).toEqual({ status: 200, text: '' });
    need('promtool');
    expect(await runProgram(['promtool', 'check', 'metrics'], text)).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('a bound on the series; the rest is summed', async () => {
    await echoServer(SERVER, '0.0.0.0');
    for (const host of [A, A, A, B, B, C]) await to(host);
    const exporter = await Exporter.start(folderWith(), ['--limit', '1']);
    const text = await exporter.metrics();
    expect(text.match(/^connectx_ports_used\{/gm)).toHaveLength(1);
    expect(valueOf(text, 'connectx_ports_rest_used{protocol="tcp"}')).toBeGreaterThanOrEqual(3);
    expect(valueOf(text, 'connectx_ports_rest_groups{protocol="tcp"}')).toBeGreaterThanOrEqual(2);
  });

  test('it ends at a signal, and says why it does not begin', async () => {
    const exporter = await Exporter.start(folderWith());
    const held = track(net.connect(Number(new URL(exporter.url).port), '127.0.0.1'));
    held.on('error', () => {});
    await once(held, 'connect');
    const taken = await runCli(['exporter', '-l', exporter.url.replace('http://', '')]);
    expect(taken).toMatchObject({
      code: 3,
      stdout: '',
      stderr: expect.stringMatching(/^connectx: -l 127\.0\.0\.1:\d+: listen EADDRINUSE/),
    });
    await exporter.stop('SIGTERM');
    expect(exporter.exitCode).toBe(0);
  });

  test('without any privilege', async () => {
    await echoServer(SERVER, '0.0.0.0');
    await to(A);
    // Another user namespace has none over this network.
    const exporter = await Exporter.start(folderWith(), [], ['unshare', '-U']);
    const text = await exporter.metrics();
    expect(groups(text)).toHaveLength(1);
    expect(valueOf(text, 'connectx_up')).toBe(1);
  });

  test('what the kernel refuses shows, and what it says otherwise stays', async () => {
    need('mount');
    const folder = folderWith();
    const script = 'mount -t tmpfs none /proc/sys/net && exec "$@"';
    const exporter = await Exporter.start(folder, [], ['unshare', '-m', 'sh', '-ec', script, 'sh']);
    const text = await exporter.metrics();
    expect(valueOf(text, 'connectx_up')).toBe(0);
    expect(valueOf(text, 'connectx_file_descriptors')).toBeGreaterThan(0);
    expect(valueOf(text, 'connectx_exporter_dump_failures_total')).toBe(1);
    await exporter.metrics();
    expect(exporter.output.match(/ip_local_port_range cannot be read/g)).toHaveLength(1);
    expect(await exporter.get('/healthz')).toMatchObject({
      status: 503,
      text: expect.stringContaining('ip_local_port_range'),
    });
  });

  test('scrapes that come together share one look, and one that does not read holds nobody', async () => {
    await echoServer(SERVER, '0.0.0.0');
    await to(A);
    const exporter = await Exporter.start(folderWith());
    const port = Number(new URL(exporter.url).port);
    // Asks a thousand times and never reads: its answers fill the buffers.
    const deaf = track(net.connect(port, '127.0.0.1'));
    deaf.on('error', () => {});
    deaf.pause();
    deaf.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000));
    const mute = track(net.connect(port, '127.0.0.1'));
    mute.on('error', () => {});
    mute.write('GET /metr');
    // One connection for each: all of them are there before the first is answered.
    const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });
    const before = valueOf(await exporter.metrics(), 'connectx_exporter_dumps_total') ?? NaN;
    const texts = await Promise.all(Array.from({ length: 10 }, () => exporter.get('/metrics', { agent })));
    agent.destroy();
    expect(texts.map(({ status }) => status)).toEqual(Array(10).fill(200));
    for (const { text } of texts) expect(groups(text)).toHaveLength(1);
    const after = await exporter.metrics();
    expect(valueOf(after, 'connectx_exporter_scrapes_total')).toBeGreaterThan(10);
    const dumps = (valueOf(after, 'connectx_exporter_dumps_total') ?? NaN) - before;
    const scrapes = valueOf(after, 'connectx_exporter_scrapes_total') ?? NaN;
    expect(dumps).toBeLessThan(scrapes);
  });

  test(
    `20,000 sockets: a scrape takes less than 100 ms, and ${SCRAPES} of them take no memory`,
    { timeout: 300_000 * slowness },
    async () => {
      sysctl('ipv4.ip_local_port_range', '1024 65000');
      const holders = [0, 1].map((network) => {
        const holder = spawn(process.execPath, [fixture('hold-udp.mjs'), '10000', '100', `${network + 1}`]);
        track({ close: () => void holder.kill('SIGKILL') });
        return once(holder.stdout, 'data');
      });
      await Promise.all(holders);
      expect(Number(shell('ss -Huan | wc -l'))).toBeGreaterThanOrEqual(20_000);
      const exporter = await Exporter.start(folderWith(), ['--limit', '1000']);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const scrape = async () => {
        const start = performance.now();
        const { text } = await exporter.get('/metrics', { agent });
        const figure = (name: string) => valueOf(text, `connectx_exporter_${name}`) ?? NaN;
        return {
          text,
          ms: performance.now() - start,
          cpu: figure('cpu_seconds_total'),
          memory: figure('resident_memory_bytes') / 1e6,
        };
      };
      const { text } = await scrape();
      expect(text.match(/^connectx_ports_used\{protocol="udp"/gm)).toHaveLength(200);
      expect(text.match(/^connectx_ports_used\{protocol="udp".* 100$/gm)).toHaveLength(200);
      // Until everything is compiled.
      for (let n = 0; n < 20; n++) await scrape();
      const { cpu } = await scrape();
      const scrapes: Awaited<ReturnType<typeof scrape>>[] = [];
      for (let n = 0; n < SCRAPES; n++) scrapes.push({ ...(await scrape()), text: '' });
      agent.destroy();
      // Of the processor: how long it takes by the clock depends on who else runs here.
      const each = (((scrapes.at(-1)?.cpu ?? NaN) - cpu) * 1000) / SCRAPES;
      const times = scrapes.map(({ ms }) => ms).sort((a, b) => a - b);
      const most = (from: number, to: number) =>
        Math.max(...scrapes.slice(SCRAPES * from, SCRAPES * to).map(({ memory }) => memory));
      console.log(
        `a scrape of 20,000 sockets: ${each.toFixed(1)} ms of a processor, by the clock ${times[0]?.toFixed(1)} to ` +
          `${times.at(-1)?.toFixed(1)}, half of them below ${times[SCRAPES / 2]?.toFixed(1)} ms; memory at most ` +
          `${most(0, 0.5).toFixed(0)} MB in the first half, ${most(0.5, 1).toFixed(0)} MB in the second`,
      );
      expect(each).toBeLessThan(100 * slowness);
      expect(most(0.5, 1)).toBeLessThan(most(0, 0.5) + 15);
    },
  );
});
