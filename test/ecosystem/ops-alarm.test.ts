// "By default your OS will not give any warning": with ops/ there is one, from a real Prometheus and Alertmanager, before a real HAProxy
// has no port left; and every query of the dashboard has rows.
import { once } from 'node:events';
import * as http from 'node:http';
import * as net from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { CLI } from '../helpers/cli.js';
import { read, root } from '../helpers/documents.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith, haproxy, Program } from '../helpers/programs.js';
import { fixture } from '../helpers/run.js';
import { echoServer, slowness, track, until } from '../helpers/sockets.js';

const PORTS = 200;
const [BACKEND, OTHER, SERVER] = ['127.0.1.1', '127.0.1.2', 5353] as const;
const [PROXY, SOURCE, CLIENT] = ['127.0.2.1', '127.0.2.2', '127.0.2.3'] as const;

const PROMETHEUS = `
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ['${join(root, 'ops/prometheus/connectx.rules.yml')}']
alerting: { alertmanagers: [{ static_configs: [{ targets: ['127.0.0.1:9093'] }] }] }
scrape_configs:
  - { job_name: connectx, static_configs: [{ targets: ['127.0.0.1:9469'] }] }
  - { job_name: program, static_configs: [{ targets: ['127.0.0.1:9000'] }] }
`;
const ALERTMANAGER = `
route: { receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h }
receivers: [{ name: test, webhook_configs: [{ url: 'http://127.0.0.1:9999/', send_resolved: true }] }]
`;

interface Alert {
  status: 'firing' | 'resolved';
  labels: Record<string, string>;
}

/** What Alertmanager tells. */
async function webhook(): Promise<Alert[]> {
  const told: Alert[] = [];
  const server = track(
    http.createServer((request, response) => {
      let text = '';
      request.on('data', (data) => (text += String(data)));
      request.on('end', () => {
        told.push(...(JSON.parse(text) as { alerts: Alert[] }).alerts);
        response.end();
      });
    }),
  );
  server.listen(9999, '127.0.0.1');
  await once(server, 'listening');
  return told;
}

/** A server of which all connections can be reset, so that nothing is left in TIME-WAIT. */
async function backend(host: string): Promise<Set<net.Socket>> {
  const sockets = new Set<net.Socket>();
  const server = track(
    net.createServer((socket) => {
      sockets.add(track(socket));
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
      socket.pipe(socket);
    }),
  );
  server.listen(SERVER, host);
  await once(server, 'listening');
  return sockets;
}

async function query(expression: string): Promise<unknown[]> {
  const url = `http://127.0.0.1:9090/api/v1/query?query=${encodeURIComponent(expression)}`;
  const answer = (await (await fetch(url)).json()) as { status: string; error?: string; data: { result: unknown[] } };
  expect([expression, answer.status, answer.error]).toEqual([expression, 'success', undefined]);
  return answer.data.result;
}

describeIsolated('an alarm', () => {
  useNetwork({ range: [20000, 20000 + PORTS - 1] });

  test('before the first "no free ports" of HAProxy, and it is over', { timeout: 240_000 * slowness }, async () => {
    need('haproxy', 'prometheus', 'prometheus-alertmanager');
    const folder = folderWith({ 'prometheus.yml': PROMETHEUS, 'alertmanager.yml': ALERTMANAGER });
    const behind = await backend(BACKEND);
    await backend(OTHER);
    // A server inside the range.
    await echoServer(20100, '127.0.0.1');
    const told = await webhook();
    const proxy = haproxy(
      folder,
      `
      defaults
        mode tcp
        log stdout format raw local0
        retries 0
        timeout connect 2s
        timeout client 5m
        timeout server 5m
      listen relay
        bind ${PROXY}:8080
        source ${SOURCE}
        server backend ${BACKEND}:${SERVER}`,
    );
    await proxy.listensOn([PROXY], 8080);
    const exporter = new Program(folder, process.execPath, CLI, 'exporter');
    await exporter.listensOn(['127.0.0.1'], 9469);
    const program = new Program(folder, process.execPath, fixture('metrics-program.mjs'), OTHER, `${SERVER}`, '9000');
    const alertmanager = new Program(
      folder,
      'prometheus-alertmanager',
      ...[
        '--config.file=alertmanager.yml',
        '--storage.path=am',
        '--web.listen-address=127.0.0.1:9093',
        '--cluster.listen-address=',
      ],
    );
    await alertmanager.listensOn(['127.0.0.1'], 9093);
    const prometheus = new Program(
      folder,
      'prometheus',
      ...[
        '--config.file=prometheus.yml',
        '--storage.tsdb.path=data',
        '--web.listen-address=127.0.0.1:9090',
        '--log.level=warn',
      ],
    );
    await prometheus.listensOn(['127.0.0.1'], 9090);

    // From outside the range, so that the clients take none of its ports.
    let port = 30000;
    const client = async () => {
      const socket = track(net.connect({ host: PROXY, port: 8080, localAddress: CLIENT, localPort: port++ }));
      socket.on('error', () => {});
      await once(socket, 'connect');
      socket.write('x');
      await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    };
    const exhausted = () => /no free ports|Cannot (bind|assign)|port exhaustion/i.test(proxy.output);
    const alarm = (status: Alert['status']) =>
      told.find(
        ({ status: is, labels }) =>
          is === status && labels['alertname'] === 'ConnectxPortsHigh' && labels['remote_address'] === BACKEND,
      );

    for (let n = 0; n < 0.75 * PORTS; n++) await client();
    await until(
      () => program.output.includes('refused'),
      () => program.output,
      4,
    );
    // Several scrapes and evaluations later there is no alarm of it.
    await pause(5000);
    expect([alarm('firing'), exhausted()]).toEqual([undefined, false]);
    // One after the other, until it is heard.
    for (let n = 0.75 * PORTS; alarm('firing') === undefined && n < PORTS; n++) {
      await client();
      await pause(1000);
    }
    expect(exhausted(), proxy.output.slice(-2000)).toBe(false);
    expect(alarm('firing')?.labels).toMatchObject({ severity: 'warning', local_address: SOURCE, protocol: 'tcp' });

    await dashboard();

    // Only then.
    for (let n = 0; n < PORTS && !exhausted(); n++) await client();
    await until(exhausted, () => proxy.output.slice(-2000));
    for (const socket of behind) socket.resetAndDestroy();
    await until(
      () => alarm('resolved') !== undefined,
      () => JSON.stringify(told),
      10,
    );
  });
});

/** Every query has rows, except for what this kernel or network namespace does not have. */
async function dashboard(): Promise<void> {
  interface Dashboard {
    panels: { title: string; targets: { expr: string }[] }[];
  }
  const { panels } = JSON.parse(read('ops/grafana/connectx.json')) as Dashboard;
  const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));
  expect(queries.length).toBeGreaterThan(20);
  const optional = ['connectx_conntrack_entries', 'connectx_udp_memory_pages_max'];
  const absent: string[] = [];
  for (const name of optional) if ((await query(name)).length === 0) absent.push(name);
  for (const { title, expr } of queries) {
    if (absent.some((name) => expr.includes(name))) continue;
    const filled = expr.replaceAll('$__rate_interval', '10s').replaceAll(/\$(instance|job)/g, '.*');
    expect([title, filled, (await query(filled)).length > 0]).toEqual([title, filled, true]);
  }
}
