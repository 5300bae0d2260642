// examples/udp-relay under QUIC of a real implementation (ngtcp2): whole sessions, compared by content.
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { CLEAN_END } from '../helpers/examples.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { hashOf, leftOutWithoutQuic, quicSession, QuicServer } from '../helpers/quic.js';
import { slowness } from '../helpers/sockets.js';
import { Relay } from '../helpers/udp-relay.js';

const SESSIONS = 20;
/** At least so many bytes each way. */
const BYTES = 1_000_000;

const cast = [
  { family: 'IPv4', listen: '127.0.0.1', source: '127.0.0.11', upstream: '127.0.0.2' },
  { family: 'IPv6', listen: '2001:db8::1', source: '2001:db8::11', upstream: '2001:db8::2' },
];
const LISTENING = 4433;
const UPSTREAM = 4434;

describeIsolated('QUIC through examples/udp-relay', () => {
  useNetwork({ range: [20000, 20999], addresses: ['2001:db8::1', '2001:db8::11', '2001:db8::2'] });

  describe.each(cast)('$family', ({ listen, source, upstream }) => {
    const start = async (quic = false) =>
      Relay.start({
        routes: [{ listen: { host: listen, port: LISTENING }, upstream: { host: upstream, port: UPSTREAM }, quic }],
        sources: [source],
        clients: ['127.0.0.0/8', '2001:db8::/32'],
        // What a server may send to an address that it has not validated (RFC 9000, section 8.1).
        limits: { amplification: 3 },
      });
    const relayed = { host: listen, port: LISTENING };
    const isOfSource = (peer: string) => peer.startsWith(`[${source}]:`);

    test.skipIf(leftOutWithoutQuic)(
      `${SESSIONS} sessions at a time, each with ${BYTES / 1e6} MB each way, are whole${leftOutWithoutQuic}`,
      { timeout: 60_000 * slowness },
      async () => {
        const names = Array.from({ length: SESSIONS }, (_, n) => `file-${n}`);
        const downloads = Object.fromEntries(names.map((name, n) => [name, randomBytes(BYTES + 7 * n)]));
        const uploads = names.map((_, n) => randomBytes(BYTES + 11 * n));
        const server = await QuicServer.start(upstream, UPSTREAM, downloads);
        const relay = await start();
        const got = await Promise.all(
          names.map((name, n) => quicSession(relayed, name, uploads[n] ?? Buffer.alloc(0))),
        );
        expect(got.map(hashOf)).toEqual(Object.values(downloads).map(hashOf));
        const { flows, bytes } = await relay.stats();
        const seen = await server.end();
        expect(seen.uploads).toEqual(uploads.map(hashOf).sort());
        // A 4-tuple for each, and all of it has gone through the relay.
        expect(flows).toMatchObject({ opened: SESSIONS, failed: 0 });
        expect([...seen.peers].filter(isOfSource)).toHaveLength(SESSIONS);
        expect(seen.peers.size).toBe(SESSIONS);
        expect(bytes.up).toBeGreaterThan(SESSIONS * BYTES);
        expect(bytes.down).toBeGreaterThan(SESSIONS * BYTES);
        expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
      },
    );

    describe.each([
      { when: 'before it asks', bytes: BYTES, timing: ['--change-local-addr=100ms', '--delay-stream=200ms'] },
      { when: 'in the middle', bytes: 10 * BYTES, timing: ['--change-local-addr=30ms'] },
    ])('a client whose address changes $when', ({ bytes, timing }) => {
      // A client that knows of its new address takes another connection id, which only the server can match (RFC 9000, section 9.5).
      test.skipIf(leftOutWithoutQuic).each([
        { what: 'rebinding, `quic: true`: one flow', quic: true, options: ['--nat-rebinding'], flows: 1, moved: 1 },
        {
          what: 'rebinding, without: the server sees it',
          quic: false,
          options: ['--nat-rebinding'],
          flows: 2,
          moved: 0,
        },
        { what: 'migration: the server sees it', quic: true, options: [], flows: 2, moved: 0 },
      ])(
        `$what; the session is whole${leftOutWithoutQuic}`,
        { timeout: 60_000 * slowness },
        async ({ quic, options, flows: count, moved }) => {
          const [download, upload] = [randomBytes(bytes), randomBytes(bytes)];
          const server = await QuicServer.start(upstream, UPSTREAM, { file: download });
          const relay = await start(quic);
          const got = await quicSession(relayed, 'file', upload, [...timing, ...options]);
          expect(hashOf(got)).toBe(hashOf(download));
          const { flows } = await relay.stats();
          const seen = await server.end();
          expect(seen.uploads).toEqual([hashOf(upload)]);
          expect(flows).toMatchObject({ opened: count, moved });
          expect([...seen.peers].filter(isOfSource)).toHaveLength(count);
        },
      );
    });
  });
});
