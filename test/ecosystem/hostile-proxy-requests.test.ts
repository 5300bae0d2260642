// examples/forward-proxy in hostile hands: requests and answers that two readers could take for different things.
import { expect, test } from 'vitest';
import { CLEAN_END } from '../helpers/examples.js';
import {
  authorization,
  clean,
  connectTo,
  echoOrigin,
  everything,
  exchange,
  ORIGIN,
  plain,
  rawClient,
  rawOrigin,
  startProxy,
  statusOf,
  urlOf,
} from '../helpers/forward-proxy.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { until } from '../helpers/sockets.js';

/** A request in the body of another one. The server would take it for one of its own; the proxy asks for a password. */
const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: b\r\n\r\n';
const chunked = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
const length = (text: string) => `Content-Length: ${text.length}\r\n`;
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
/** As many as the parser of Node takes in by default. */
const THOUSAND = 'a:1\r\n'.repeat(1000);

// [what, the header lines, the body]
const FRAMINGS: readonly (readonly [string, string, string])[] = [
  ['the length nominated away', `Connection: content-length\r\n${length(HIDDEN)}`, HIDDEN],
  ['the length nominated away, in a list', `Connection: x, Content-Length , close\r\n${length(HIDDEN)}`, HIDDEN],
  ['the coding nominated away', `Connection: transfer-encoding\r\n${CHUNKED}`, chunked(HIDDEN)],
  ['both nominated away', `Connection: transfer-encoding, content-length\r\n${CHUNKED}`, chunked(HIDDEN)],
  ['the host nominated away', `Connection: host\r\n${length(HIDDEN)}`, HIDDEN],
  ['a length after 1,000 headers', `${THOUSAND}${length(HIDDEN)}`, HIDDEN],
  ['a coding after 1,000 headers', `${THOUSAND}${CHUNKED}`, chunked(HIDDEN)],
  [
    'a length after 1,000 headers that nominate it',
    `Connection: content-length\r\n${THOUSAND}${length(HIDDEN)}`,
    HIDDEN,
  ],
  ['length and coding', `${length(`0\r\n\r\n${HIDDEN}`)}${CHUNKED}`, `0\r\n\r\n${HIDDEN}`],
  ['coding and length', `${CHUNKED}Content-Length: 4\r\n`, chunked(HIDDEN)],
  ['length and coding, the coding after 1,000 headers', `Content-Length: 4\r\n${THOUSAND}${CHUNKED}`, chunked(HIDDEN)],
  ['two lengths', `Content-Length: 0\r\n${length(HIDDEN)}`, HIDDEN],
  ['the same length twice', `${length(HIDDEN)}${length(HIDDEN)}`, HIDDEN],
  ['a list of lengths', `Content-Length: 0, ${HIDDEN.length}\r\n`, HIDDEN],
  ['a signed length', `Content-Length: +${HIDDEN.length}\r\n`, HIDDEN],
  ['a negative length', 'Content-Length: -1\r\n', HIDDEN],
  ['a hexadecimal length', 'Content-Length: 0x10\r\n', HIDDEN],
  ['an empty length', 'Content-Length:\r\n', HIDDEN],
  ['a length that is too large', 'Content-Length: 18446744073709551617\r\n', HIDDEN],
  ['a space before the colon', `Content-Length : ${HIDDEN.length}\r\n`, HIDDEN],
  ['a coding with a space before the colon', 'Transfer-Encoding : chunked\r\n', chunked(HIDDEN)],
  ['a folded coding', 'Transfer-Encoding:\r\n chunked\r\n', chunked(HIDDEN)],
  ['a folded length', `X: 1\r\n Content-Length: ${HIDDEN.length}\r\n`, HIDDEN],
  ['a first line that is folded', ` Content-Length: ${HIDDEN.length}\r\n`, HIDDEN],
  ['a length continued on the next line', 'Content-Length: 1\r\n 2\r\n', HIDDEN],
  ['an unknown coding', 'Transfer-Encoding: xchunked\r\n', chunked(HIDDEN)],
  ['identity', 'Transfer-Encoding: identity\r\n', HIDDEN],
  ['an empty coding', 'Transfer-Encoding:\r\n', HIDDEN],
  ['chunked twice', 'Transfer-Encoding: chunked, chunked\r\n', chunked(chunked(HIDDEN))],
  ['chunked, but not last', 'Transfer-Encoding: chunked, identity\r\n', chunked(HIDDEN)],
  ['two codings on two lines', `${CHUNKED}Transfer-Encoding: identity\r\n`, chunked(HIDDEN)],
  ['a vertical tab', 'Transfer-Encoding:\x0bchunked\r\n', chunked(HIDDEN)],
  ['a NUL', 'Transfer-Encoding: chun\0ked\r\n', chunked(HIDDEN)],
  ['a bare LF', `X: 1\n${length(HIDDEN)}`, HIDDEN],
  ['a bare CR', `X: 1\r${length(HIDDEN)}`, HIDDEN],
  ['no header name', `: 1\r\n${length(HIDDEN)}`, HIDDEN],
  ['a chunk size that overflows', CHUNKED, `10000000000000000\r\n${HIDDEN}\r\n0\r\n\r\n`],
  ['a chunk size with a prefix', CHUNKED, `0x5\r\nhello\r\n0\r\n\r\n${HIDDEN}`],
  ['a chunk that ends with LF', CHUNKED, `5\nhello\n0\n\n${HIDDEN}`],
  ['a chunk with an extension', CHUNKED, `5;a="\r\n${HIDDEN}"\r\nhello\r\n0\r\n\r\n`],
  ['a chunk that is longer than it says', CHUNKED, `5\r\nhello world\r\n0\r\n\r\n${HIDDEN}`],
  ['a trailer with a length', CHUNKED, `0\r\n${length(HIDDEN)}\r\n${HIDDEN}`],
  ['nothing that frames it', '', HIDDEN],
  ['an upgrade', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n', HIDDEN],
  ['an expectation', `Expect: 100-continue\r\nConnection: expect\r\n${length(HIDDEN)}`, HIDDEN],
];

describeIsolated('examples/forward-proxy: requests in hostile hands', () => {
  useNetwork({ range: [20000, 20999] });

  test('a body is framed, or there is none: no request is hidden in another one', async () => {
    const { requests } = await echoOrigin();
    const proxy = await startProxy();
    for (const method of ['GET', 'POST']) {
      for (const [what, lines, body] of FRAMINGS) {
        const one = await rawClient(plain('/one', lines, body, method));
        const heard = everything(one);
        // Another user of the tenant, whose request may go over the same connection.
        const two = await clean('/two');
        expect([method, what, statusOf(two), two]).toEqual([method, what, 200, expect.stringContaining('GET /two')]);
        one.end();
        one.destroySoon();
        await heard;
        expect([method, what, ...new Set(requests)]).toEqual([
          ...[method, what, ...(requests.includes(`${method} /one`) ? [`${method} /one`] : []), 'GET /two'],
        ]);
        requests.splice(0);
      }
    }
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('a body that is nominated away arrives with its length', async () => {
    await echoOrigin();
    await startProxy();
    for (const lines of [
      `Connection: close, content-length\r\n${length('hi')}`,
      `Connection: close\r\n${THOUSAND}${length('hi')}`,
    ]) {
      expect(await exchange(plain('/', lines, 'hi'))).toMatch(/Content-Length\n2\n[^]*\n\nhi$/);
    }
  });

  test('1,000 headers are none too many, and those after them are passed on', async () => {
    await echoOrigin();
    await startProxy();
    expect(await exchange(plain('/', `Connection: close\r\n${THOUSAND}X-Last: 1\r\n`))).toContain('X-Last\n1');
  });

  test('a CONNECT with a body is refused', async () => {
    await echoOrigin();
    const proxy = await startProxy();
    for (const lines of [length(HIDDEN), CHUNKED, `Connection: content-length\r\n${length(HIDDEN)}`]) {
      expect(statusOf(await exchange(connectTo(`${ORIGIN.host}:${ORIGIN.port}`, lines) + HIDDEN))).toBe(400);
    }
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('whatever a request looks like, the next client is served', async () => {
    await echoOrigin();
    const proxy = await startProxy({ timeouts: { headers: 200, refused: 200 } });
    const auth = authorization();
    const forms = [
      ...[
        '',
        '\r\n\r\n\r\n',
        '\0',
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
        'GET http://[ HTTP/1.1\r\n\r\n',
        '\x16\x03\x01\x02\0',
      ],
      ...[
        '::',
        ':80',
        '[::]:80',
        '[::::]:80',
        '[1.2.3.4]:80',
        'a:99999',
        '%00:80',
        `${'a.'.repeat(400)}:80`,
        '[fe80::1%lo]:80',
      ].map((target) => connectTo(target)),
      ...[
        'http://',
        'http://:80/',
        'http://a:0/',
        'http://a:b/',
        'http://[::1/',
        'http://a\\b/',
        'http://%/',
        'ftp://a/',
      ].map((url) => `GET ${url} HTTP/1.1\r\nHost: a\r\n${auth}\r\n`),
      `GET ${urlOf('/\xff\x80')} HTTP/1.1\r\nHost: a\r\n${auth}\r\n`,
      `GET ${urlOf('/')} HTTP/1.1\r\n${auth}\r\n`,
      `GET ${urlOf('/')} HTTP/1.0\r\n${auth}\r\n`,
      `GET ${urlOf('/')} HTTP/9.9\r\n${auth}\r\n`,
      ...['Basic', 'Basic =', 'Basic ::', `Basic ${'A'.repeat(9000)}`, 'Bearer x', 'Basic /w=='].map(
        (value) => `GET ${urlOf('/')} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: ${value}\r\n\r\n`,
      ),
      plain('/', 'Expect: something\r\n'),
      plain('/', `X: ${'x'.repeat(20_000)}\r\n`),
      plain('/', 'X: \x7f\x80\xff\r\n'),
      plain('/', '', '', 'BREW'),
      plain('/', '', '', 'TRACE'),
      plain('/').repeat(200),
    ];
    for (const text of forms) {
      const socket = await rawClient(Buffer.from(text, 'latin1'));
      socket.end();
      await everything(socket);
      expect([text.slice(0, 80), statusOf(await clean('/ok'))]).toEqual([text.slice(0, 80), 200]);
    }
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  // Every one is the answer of a kept connection; what it must not do is to reach the request that comes next.
  test.each([
    [
      'a second answer',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged',
    ],
    ['length and coding', 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nforged'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 6\r\n\r\nforged'],
    ['the length nominated away', 'HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok'],
    ['a length after 1,000 headers', `HTTP/1.1 200 OK\r\n${THOUSAND}Content-Length: 2\r\n\r\nok`],
    ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\n\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'],
    ['no body, and one all the same', 'HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nforged'],
    ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nforged'],
    ['endless headers', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(10_000)}\r\n`],
    ['a control character', 'HTTP/1.1 200 \x1b[2J\r\nContent-Length: 0\r\n\r\n'],
    ['nonsense', '\0\0\0\0'],
  ])('a hostile origin: %s', async (_, answer) => {
    let count = 0;
    await rawOrigin((socket) =>
      socket.on('data', () =>
        socket.write(count++ % 2 === 0 ? answer : 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'),
      ),
    );
    const proxy = await startProxy({ timeouts: { idle: 400 } });
    for (let n = 0; n < 3; n++) {
      count = 0;
      expect(await clean('/one')).not.toContain('forged');
      const two = await clean('/two');
      expect([statusOf(two), two.slice(-4)]).toEqual([200, 'good']);
    }
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('resets at each moment leave nothing open', async () => {
    await rawOrigin((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx'));
    });
    const proxy = await startProxy();
    // And the socket that the addon asks the kernel with, from the first connect on.
    const before = proxy.descriptors() + 1;
    const requests = [
      plain('/', length('hello'), 'hello', 'POST'),
      `${connectTo(`${ORIGIN.host}:${ORIGIN.port}`)}hello`,
    ];
    for (const request of requests) {
      for (let cut = 0; cut <= request.length; cut += 7) {
        const client = await rawClient(request.slice(0, cut));
        // In some of them the proxy is just connecting, or the answer on its way.
        await new Promise((resolve) => setTimeout(resolve, cut % 4));
        client.resetAndDestroy();
      }
    }
    await until(
      () => proxy.descriptors() <= before,
      () => `${proxy.descriptors()} of ${before}`,
    );
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('an origin that resets at each moment ends its own answer', async () => {
    const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789';
    let cut = 0;
    await rawOrigin((socket) =>
      socket.once('data', () =>
        socket.write(answer.slice(0, cut), () => setTimeout(() => socket.resetAndDestroy(), 3)),
      ),
    );
    const proxy = await startProxy();
    for (; cut < answer.length; cut += 3) {
      const heard = await clean('/');
      // It is an error, or breaks off, but it never looks complete.
      expect([cut, [0, 200, 502].includes(statusOf(heard)), heard.endsWith('9')]).toEqual([cut, true, false]);
    }
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });
});
