// connectx/register in programs that have done something of their own to net.Socket.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';

const register = join(import.meta.dirname, '../../dist/register.js');

function run(program: string): { stdout: string; stderr: string; status: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  return { stdout, stderr, status };
}

const connectOnce = `
  const server = net.createServer().listen(5353, '127.0.0.1', () => {
    const lookup = (name, options, callback) => callback(null, '127.0.0.1', 4);
    const socket = net.connect({ host: 'some.example', port: 5353, localAddress: '127.0.0.2', lookup });
    socket.on('connect', () => { console.log(socket.localAddress); process.exit(); });
  });`;

describeIsolated('register beside', () => {
  useNetwork(smallNetwork);

  test.each(['under', 'over'])('a wrapper of connect() that copies the options, %s it', (where) => {
    const wrap = `
      const { connect } = net.Socket.prototype;
      net.Socket.prototype.connect = function (...args) {
        const [first] = args;
        const list = Array.isArray(first) ? first : args;
        if (typeof list[0] === 'object') list[0] = { ...list[0] };
        return connect.apply(this, args);
      };`;
    const load = `require(${JSON.stringify(register)});`;
    const both = where === 'under' ? wrap + load : load + wrap;
    expect(run(`const net = require('node:net'); ${both} ${connectOnce}`)).toEqual({
      stdout: '127.0.0.2\n',
      stderr: '',
      status: 0,
    });
  });

  test('a frozen net.Socket.prototype: a warning, and core goes on alone', () => {
    const { stdout, stderr, status } = run(`
      const net = require('node:net');
      // Node itself could not make these any more.
      void [process.stdout, process.stderr];
      Object.freeze(net.Socket.prototype);
      require(${JSON.stringify(register)});
      ${connectOnce}`);
    expect({ stdout, status }).toEqual({ stdout: '127.0.0.2\n', status: 0 });
    expect(stderr).toContain('net.Socket.prototype is frozen');
  });
});
