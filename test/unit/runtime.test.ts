// Which runtime it is, and what is refused on it.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { refusalOf, runtimeOf, titleOf, type Way } from '../../src/kernel/runtime';
import { plainEnvironment } from '../helpers/environment.js';

const NODE = { node: '26.3.0', v8: '14.6.202.34-node.20' };
const WAYS: readonly Way[] = ['tcp', 'udp', 'udpSync'];

const cases = [
  { versions: NODE, title: 'Node 26.3.0', refused: {} },
  {
    versions: { ...NODE, bun: '1.4.5' },
    title: 'Bun 1.4.5',
    refused: { tcp: 'tcp-handle', udpSync: 'connectUdpSync' },
  },
  {
    versions: { ...NODE, deno: '2.9.6' },
    title: 'Deno 2.9.6',
    refused: { tcp: 'tcp-handle', udp: 'udp-descriptor', udpSync: 'udp-descriptor' },
  },
];

describe.each(cases)('$title', ({ versions, title, refused }) => {
  const on = runtimeOf(versions);

  test('has its own name and version', () => {
    expect(titleOf(on)).toBe(title);
  });

  test.each(WAYS)('%s is carried, or refused by a text that names the runtime', (way) => {
    const refusal = refusalOf(way, on);
    const reason = (refused as Partial<Record<Way, string>>)[way];
    if (reason === undefined) {
      expect(refusal).toBeUndefined();
      return;
    }
    expect(refusal).toMatchObject({ code: 'ERR_CONNECTX_UNSUPPORTED', reason });
    expect(refusal?.message).toContain(title);
    expect(refusal?.message).not.toMatch(/Node \d/);
    expect(refusal?.message).toMatch(/ [Uu]se /);
  });

  // The package itself, under these versions.
  test('capabilities() and the errors agree', () => {
    const connectx = createRequire(import.meta.url).resolve('connectx');
    const program = `
      Object.defineProperty(process, 'versions', { value: { ...process.versions, ...${JSON.stringify(versions)} } });
      const { capabilities, connect, connectUdpSync } = require(${JSON.stringify(connectx)});
      const reasonOf = (act) => { try { act().on('error', () => {}); } catch (error) { return error.reason; } };
      const source = { host: '127.0.0.1', port: 9, localAddress: '127.0.0.1' };
      const reasons = { tcp: reasonOf(() => connect(source)), udpSync: reasonOf(() => connectUdpSync(source)) };
      const { runtime, tcp, udp, udpSync, bindAddressNoPort, udpShared } = capabilities();
      console.log(JSON.stringify({ reasons, runtime, tcp, udp, udpSync, bindAddressNoPort, udpShared }));
      process.exit();
    `;
    const said = execFileSync(process.execPath, ['-e', program], { env: plainEnvironment(), encoding: 'utf8' });
    const { udp, ...reasons } = refused as Partial<Record<Way, string>>;
    expect(JSON.parse(said)).toEqual({
      reasons,
      runtime: { name: on.name, version: on.version },
      tcp: reasons.tcp === undefined,
      udp: udp === undefined,
      udpSync: reasons.udpSync === undefined,
      bindAddressNoPort: reasons.tcp === undefined,
      udpShared: udp === undefined,
    });
  });
});
