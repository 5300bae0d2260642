// examples/opentelemetry: spans of connects, with the names of OpenTelemetry's own package of semantic conventions.
import { execFile } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Tracer } from '@opentelemetry/api';
import * as conventions from '@opentelemetry/semantic-conventions';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { connect, connectUdp, connectUdpSync } from 'connectx';
import { expect, test } from 'vitest';
import { subscribersOf } from '../helpers/channels.js';
import { read, root } from '../helpers/documents.js';
import { SERVER, smallNetwork } from '../helpers/families.js';
import { libraryFolder } from '../helpers/libraries.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { closed, connected, echoServer, errorOf, track } from '../helpers/sockets.js';

const [A, SOURCE] = ['127.0.0.2', '127.0.0.1'] as const;

/** Every attribute that the conventions have. */
const CONVENTIONAL = new Set(
  Object.entries(conventions).flatMap(([name, value]) =>
    name.startsWith('ATTR_') && typeof value === 'string' ? [value] : [],
  ),
);

/** A folder with the example and what it imports, as its README.md says. */
function project(): string {
  const files = ['connects.mjs', 'main.mjs'].map((name) => [name, read(`examples/opentelemetry/${name}`)]);
  const folder = folderWith({ 'package.json': '{}', ...(Object.fromEntries(files) as Record<string, string>) });
  for (const name of ['@opentelemetry/api', '@opentelemetry/sdk-trace-base', 'connectx']) {
    const at = join(folder, 'node_modules', name);
    mkdirSync(dirname(at), { recursive: true });
    symlinkSync(name === 'connectx' ? root : libraryFolder(name), at);
  }
  return folder;
}

interface Example {
  traceConnects(tracer: Tracer): () => void;
}

describeIsolated('spans', () => {
  useNetwork(smallNetwork);

  test('one for each connect, however it ends', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const exporter = new InMemorySpanExporter();
    const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    const { traceConnects } = (await import(join(project(), 'connects.mjs'))) as Example;
    const stop = traceConnects(provider.getTracer('test'));
    try {
      const to = () => connected(connect({ host: A, port: SERVER, localAddress: SOURCE }));
      for (let n = 0; n < 4; n++) await to();
      await errorOf(to);
      await errorOf(() => connected(connect({ host: A, port: 9 })));
      const given = connect({ host: 'localhost', port: SERVER, lookup: () => {} });
      given.destroy();
      await closed(given);
      track(await connectUdp({ host: A, port: SERVER }));
      track(connectUdpSync({ host: A, port: SERVER, localAddress: SOURCE, localPort: 30000 }));
      expect(() => connectUdpSync({ host: A, port: SERVER, localAddress: SOURCE, localPort: 30000 })).toThrow();
    } finally {
      stop();
    }
    expect(subscribersOf('tracing:connectx:connect')).toBe(0);
    const spans = exporter.getFinishedSpans();
    const attributes = spans.map((span) => span.attributes);
    expect(attributes[0]).toEqual({
      [conventions.ATTR_NETWORK_TRANSPORT]: 'tcp',
      [conventions.ATTR_NETWORK_TYPE]: 'ipv4',
      [conventions.ATTR_SERVER_ADDRESS]: A,
      [conventions.ATTR_SERVER_PORT]: SERVER,
      [conventions.ATTR_NETWORK_PEER_ADDRESS]: A,
      [conventions.ATTR_NETWORK_PEER_PORT]: SERVER,
      [conventions.ATTR_NETWORK_LOCAL_ADDRESS]: SOURCE,
      [conventions.ATTR_NETWORK_LOCAL_PORT]: expect.any(Number),
      'connectx.technique': 'assign',
      'connectx.attempts': 1,
    });
    const errors = attributes.map((one) => one[conventions.ATTR_ERROR_TYPE]);
    expect(errors.slice(4)).toEqual([
      'ports-exhausted',
      'ECONNREFUSED',
      'aborted',
      undefined,
      undefined,
      'tuple-in-use',
    ]);
    expect(spans.map(({ name }) => name)).toEqual([
      ...Array<string>(7).fill('connect tcp'),
      ...Array<string>(3).fill('connect udp'),
    ]);
    for (const [seconds, nanoseconds] of spans.map(({ duration }) => duration))
      expect(seconds + nanoseconds).toBeGreaterThan(0);
    const others = new Set(attributes.flatMap(Object.keys).filter((name) => !CONVENTIONAL.has(name)));
    expect([...others].sort()).toEqual(['connectx.attempts', 'connectx.technique']);
    const documented = [...read('examples/opentelemetry/README.md').matchAll(/`([a-z]+\.[a-z.]+)`/g)].map(
      ([, name = '']) => name,
    );
    expect(new Set(documented)).toEqual(new Set(attributes.flatMap(Object.keys)));
  });

  test('main.mjs, as its README.md starts it', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const args = ['main.mjs', A, `${SERVER}`, SOURCE];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: project() });
    expect(stdout).toContain("'network.local.address': '127.0.0.1'");
  });
});
