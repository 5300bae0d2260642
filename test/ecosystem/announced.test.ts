// The channel net.client.socket in a program in which a monitoring tool has put functions of its own over those of node:net, as OpenTelemetry,
// Datadog and others do by shimmer: each socket is announced once, as core's are.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import * as net from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import { track } from '../helpers/sockets.js';

const connectx = join(import.meta.dirname, '../../dist/index.js');

// As shimmer does it: the function that was there is called, and the properties of it are kept.
const WRAP = `
  function wrap(object, name) {
    const original = object[name];
    function wrapped(...args) { return original.apply(this, args); }
    Object.defineProperty(wrapped, 'name', { value: name });
    Object.defineProperty(wrapped, '__original', { value: original, writable: true });
    object[name] = wrapped;
  }`;
const OVER_FUNCTIONS = `wrap(net, 'connect'); wrap(net, 'createConnection');`;
const OVER_METHOD = `wrap(net.Socket.prototype, 'connect');`;
const LOAD = `const { connect } = require(${JSON.stringify(connectx)});`;

const program = (before: string, after: string, port: number) => `
  const net = require('node:net');
  const { subscribe } = require('node:diagnostics_channel');
  ${WRAP} ${before} ${LOAD} ${after}
  const announced = [];
  subscribe('net.client.socket', ({ socket }) => announced.push(socket));
  const counts = {};
  const open = (name, make) => new Promise((resolve) => {
    announced.length = 0;
    const socket = make();
    counts[name] = announced.filter((one) => one === socket).length + (announced.length - new Set(announced).size) * 100;
    socket.on('connect', () => { socket.destroy(); resolve(); });
  });
  (async () => {
    await open('core', () => net.connect(${port}, '127.0.0.1'));
    for (const name of ['first', 'second', 'third']) await open(name, () => connect({ port: ${port}, host: '127.0.0.1' }));
    await open('pinned', () => connect({ port: ${port}, host: '127.0.0.1', localAddress: '127.0.0.1' }));
    console.log(JSON.stringify(counts));
  })();`;

describe('net.client.socket', () => {
  let port = 0;
  beforeEach(async () => {
    const server = track(net.createServer((socket) => void socket.on('error', () => undefined)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as net.AddressInfo);
  });

  test.each([
    { wrapped: 'nothing', before: '', after: '' },
    { wrapped: 'net.connect, before connectx is loaded', before: OVER_FUNCTIONS, after: '' },
    { wrapped: 'net.connect, after connectx was loaded', before: '', after: OVER_FUNCTIONS },
    { wrapped: 'the method of net.Socket', before: OVER_METHOD, after: '' },
    { wrapped: 'all of them', before: OVER_FUNCTIONS + OVER_METHOD, after: '' },
  ])('$wrapped wrapped', async ({ before, after }) => {
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', program(before, after, port)]);
    expect(JSON.parse(stdout)).toEqual({ core: 1, first: 1, second: 1, third: 1, pinned: 1 });
  });
});
