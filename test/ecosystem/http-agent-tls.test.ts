// HttpsAgent beside https.Agent: sessions, server names, ALPN, certificates, and Happy Eyeballs, for which core replaces the
// handle under a TLSSocket.
import { once } from 'node:events';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import { TLSSocket } from 'node:tls';
import { HttpAgent, HttpsAgent } from 'connectx/http';
import { expect, test } from 'vitest';
import { RANGE, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { names } from '../helpers/parity.js';
import { errorOf, track } from '../helpers/sockets.js';
import { get, pem, type Seen, webServer } from '../helpers/web.js';

const WEB = 8443;
const A = '127.0.0.2';
const trusted = { port: WEB, host: A, ca: pem, servername: 'test.example' };
const both = [
  { name: 'HttpsAgent', Agent: HttpsAgent, source: { localAddress: '127.0.0.14' } },
  { name: 'https.Agent', Agent: https.Agent, source: { localAddress: '127.0.0.14' } },
] as const;

/** The same of both agents; what came of it. */
async function same<T>(act: (agent: https.Agent, source: object) => Promise<T>, options: object = {}): Promise<T> {
  const [mine, cores] = await Promise.all(
    both.map(async ({ Agent, source }) => {
      const agent = track(new Agent(options));
      return act(agent, source);
    }),
  );
  expect(mine).toEqual(cores);
  return mine as T;
}

const tlsOf = ({ tls }: Seen) => tls;

describeIsolated('HttpsAgent, as https.Agent,', () => {
  useNetwork({ ...smallNetwork, range: [RANGE[0], RANGE[0] + 99] });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('resumes sessions: %s', async (maxVersion) => {
    await webServer(WEB, A, { tls: true });
    const reused = await same(async (agent, source) => {
      const answers = [];
      for (let n = 0; n < 3; n++) answers.push(await get({ ...trusted, ...source, agent, maxVersion }, true));
      return answers.map(({ tls }) => tls?.reused);
    });
    expect(reused).toEqual([false, true, true]);
  });

  test('keeps the sessions of each source apart', async () => {
    await webServer(WEB, A, { tls: true });
    const agent = track(new HttpsAgent());
    const reused = async (source: object) => (await get({ ...trusted, ...source, agent }, true)).tls?.reused;
    expect(await reused({ localAddress: '127.0.0.14' })).toBe(false);
    expect(await reused({ localAddress: '127.0.0.14' })).toBe(true);
    expect(await reused({ localAddress: '127.0.0.15' })).toBe(false);
    expect(await reused({ localPortRange: [RANGE[0], RANGE[0] + 50] })).toBe(false);
    expect(await reused({ localPortRange: [RANGE[0], RANGE[0] + 50] })).toBe(true);
  });

  test('forgets sessions that it is told to forget', async () => {
    await webServer(WEB, A, { tls: true });
    const reused = await same(
      async (agent, source) => {
        const answers = [];
        for (let n = 0; n < 3; n++) answers.push(await get({ ...trusted, ...source, agent }, true));
        return answers.map(({ tls }) => tls?.reused);
      },
      { maxCachedSessions: 0 },
    );
    expect(reused).toEqual([false, false, false]);
  });

  test('says which server it wants', async () => {
    await webServer(WEB, A, { tls: true });
    const ask = async (more: object) =>
      same(async (agent, source) =>
        tlsOf(await get({ port: WEB, host: A, rejectUnauthorized: false, ...source, agent, ...more }, true)),
      );
    expect(await ask({})).toMatchObject({ servername: false });
    expect(await ask({ headers: { host: 'other.example:443' } })).toMatchObject({ servername: 'other.example' });
    expect(await ask({ host: 'some.example', lookup: names(A) })).toMatchObject({ servername: 'some.example' });
    expect(await ask({ servername: 'test.example' })).toMatchObject({ servername: 'test.example' });
  });

  test('agrees on a protocol', async () => {
    await webServer(WEB, A, { h2: true });
    const alpn = async (more: object) =>
      same(async (agent, source) => tlsOf(await get({ ...trusted, ...source, agent, ...more }, true))?.alpn);
    // Whatever this Node offers by itself.
    await alpn({});
    expect(await alpn({ ALPNProtocols: ['http/1.1'] })).toBe('http/1.1');
  });

  test('carries HTTP/2, from its source', async () => {
    await webServer(WEB, A, { h2: true });
    const agent = new HttpsAgent({ localAddress: '127.0.0.14' });
    const client = http2.connect(`https://${A}:${WEB}`, {
      createConnection: () => agent.createConnection({ ...trusted, ALPNProtocols: ['h2'] }),
    });
    const stream = client.request({ ':path': '/two' });
    let text = '';
    stream.setEncoding('utf8').on('data', (data: string) => (text += data));
    await once(stream, 'end');
    client.close();
    expect(JSON.parse(text)).toMatchObject({ address: '127.0.0.14', path: '/two', tls: { alpn: 'h2' } });
  });

  test('refuses certificates', async () => {
    await webServer(WEB, A, { tls: true });
    const code = async (more: object) =>
      same(async (agent, source) => {
        const error = await errorOf(() => get({ ...trusted, ...source, agent, ...more }, true));
        return [error.code, error.message];
      });
    expect((await code({ ca: undefined }))[0]).toBe('DEPTH_ZERO_SELF_SIGNED_CERT');
    expect((await code({ servername: 'other.example' }))[0]).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
  });

  test('emits keylog, and tells of a session', async () => {
    await webServer(WEB, A, { tls: true });
    const lines = await same(async (agent, source) => {
      const heard: unknown[] = [];
      agent.on('keylog', (line: Buffer, socket: TLSSocket) =>
        heard.push([line.toString().split(' ')[0], socket.servername]),
      );
      await get({ ...trusted, ...source, agent }, true);
      return heard;
    });
    expect(lines).not.toEqual([]);
  });

  test('connects with options of its own, without a request', async () => {
    await webServer(WEB, A, { tls: true });
    const agent = new HttpsAgent({ localAddress: '127.0.0.14' });
    const socket = track(agent.createConnection({ ...trusted, timeout: 12_345 }));
    expect(socket).toBeInstanceOf(TLSSocket);
    await once(socket, 'secureConnect');
    expect(socket).toMatchObject({ localAddress: '127.0.0.14', timeout: 12_345, authorized: true });
  });
});

describeIsolated('Happy Eyeballs', () => {
  useNetwork({ ...smallNetwork, range: [RANGE[0], RANGE[0] + 99] });
  const sources = { ipv4: '127.0.0.14', ipv6: '2001:db8::14' };

  for (const [name, secure, Agent] of [
    ['HttpAgent', false, HttpAgent],
    ['HttpsAgent', true, HttpsAgent],
  ] as const) {
    test.each([
      { way: 'the first address answers', host: '::', expected: sources.ipv6 },
      { way: 'the second one does', host: '0.0.0.0', expected: sources.ipv4 },
    ])(`${name}: $way`, async ({ host, expected }) => {
      await webServer(WEB, host === '::' ? '2001:db8::2' : A, { tls: secure });
      const agent = track(new Agent({ localAddress: sources }));
      const where = { ...trusted, host: 'two.example', lookup: names('2001:db8::2', A), autoSelectFamily: true };
      expect(await get({ ...where, agent }, secure)).toMatchObject({ address: expected });
      // Searched in user space, through more than one descriptor.
      const beyond = { ...where, agent, localPortRange: [30001, 30002] };
      expect(await get(beyond, secure)).toMatchObject({ address: expected });
      const held = await get({ ...beyond, headers: { connection: 'close' } }, secure);
      expect([30001, 30002]).toContain(held.port);
    });

    test(`${name}: only the family of the source, whatever the lookup does`, async () => {
      await webServer(WEB, A, { tls: secure });
      const agent = track(new Agent({ localAddress: sources.ipv4 }));
      const where = { ...trusted, host: 'two.example', autoSelectFamily: true, agent };
      expect(await get({ ...where, lookup: names('2001:db8::2', A) }, secure)).toMatchObject({ address: sources.ipv4 });
      // One that answers at once.
      const atOnce = (_: string, { all }: { all?: boolean }, callback: (...answer: unknown[]) => void) =>
        all ? callback(null, [{ address: A, family: 4 }]) : callback(null, A, 4);
      expect(await get({ ...where, lookup: atOnce }, secure)).toMatchObject({ address: sources.ipv4 });
      const error = await errorOf(() => get({ ...where, lookup: names('2001:db8::2') }, secure));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch', port: WEB });
    });

    test(`${name}: every attempt fails`, async () => {
      const agent = track(new Agent({ localAddress: { ipv4: '198.51.100.1', ipv6: '2001:db8:9::9' } }));
      const where = { ...trusted, host: 'two.example', lookup: names('2001:db8::2', A), autoSelectFamily: true };
      const error = await errorOf(() => get({ ...where, agent }, secure));
      expect(error).toBeInstanceOf(AggregateError);
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'address-not-local' });
      const { errors } = error as unknown as AggregateError;
      expect(errors).toMatchObject([{ reason: 'address-not-local' }, { reason: 'address-not-local' }]);
    });
  }
});
