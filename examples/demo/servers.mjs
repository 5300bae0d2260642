// Real servers that answer every request with the source address and port that they see: nginx or HAProxy if one of them is
// installed, else Node's own.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import * as http from 'node:http';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const nginx = {
  name: 'nginx',
  command: 'nginx',
  run: ['-e', 'stderr', '-p', '.', '-c', 'config'],
  // One process in the foreground, and nothing outside of its folder.
  config: (addresses) => `
    daemon off;
    master_process off;
    pid nginx.pid;
    user root;
    error_log stderr error;
    events { worker_connections 512; }
    http {
      access_log off;
      client_body_temp_path body;
      proxy_temp_path proxy;
      fastcgi_temp_path fastcgi;
      uwsgi_temp_path uwsgi;
      scgi_temp_path scgi;
      server {
        ${addresses.map((address) => `listen ${address};`).join(' ')}
        return 200 "$remote_addr:$remote_port\\n";
      }
    }
  `,
};

const haproxy = {
  name: 'HAProxy',
  command: 'haproxy',
  run: ['-db', '-f', 'config'],
  config: (addresses) => `
    global
      maxconn 500
    defaults
      mode http
      timeout client 1m
    frontend echo
      ${addresses.map((address) => `bind ${address}`).join('\n      ')}
      http-request return status 200 content-type text/plain lf-string "%ci:%cp\\n"
  `,
};

const running = [];

/** Ends what was started; resolves when it has ended. */
export async function stopServers() {
  for (const { child } of running) child.kill('SIGKILL');
  await Promise.all(running.map(({ ended }) => ended));
}

/**
 * Starts the first server that there is and that runs, on this port of each of the hosts; it is up when the promise resolves,
 * with its name. Nothing of it outlives this process.
 */
export async function startServers(hosts, port) {
  for (const program of [nginx, haproxy]) {
    const version = versionOf(program);
    if (version === undefined) continue;
    try {
      await start(program, hosts, port);
      return `${program.name} ${version}`;
    } catch (error) {
      console.error(error.message);
    }
  }
  await Promise.all(hosts.map((host) => startNode(host, port)));
  return "Node's http server (there is no nginx or HAProxy)";
}

// Undefined where it is not installed.
function versionOf({ command }) {
  const { error, stdout, stderr } = spawnSync(command, ['-v'], { encoding: 'utf8' });
  return error ? undefined : (/\d+(\.\d+)+/.exec(stdout + stderr)?.[0] ?? '');
}

async function start({ name, command, run, config }, hosts, port) {
  const directory = mkdtempSync(join(tmpdir(), 'connectx-demo-'));
  const addresses = hosts.map((host) => `${host}:${port}`);
  writeFileSync(join(directory, 'config'), `${config(addresses).trim()}\n`);
  const child = spawn(command, run, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
  process.once('exit', () => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  const ended = once(child, 'close');
  running.push({ child, ended });
  let complaints = '';
  child.stderr.on('data', (text) => (complaints += text));
  const failed = ended.then(() => {
    throw new Error(`${name} did not start: ${complaints}`);
  });
  failed.catch(() => {});
  await Promise.race([failed, Promise.all(hosts.map((host) => accepting(host, port)))]);
}

async function startNode(host, port) {
  const server = http.createServer(({ socket }, response) => {
    response.end(`${socket.remoteAddress}:${socket.remotePort}\n`);
  });
  await once(server.listen(port, host), 'listening');
}

/** Resolves when the server accepts connections. */
async function accepting(host, port) {
  for (let attempt = 0; attempt < 500; attempt++) {
    const socket = net.connect(port, host);
    try {
      await once(socket, 'connect');
      socket.resetAndDestroy();
      return;
    } catch {
      await pause(10);
    }
  }
  throw new Error(`nothing listens on ${host}:${port} after 5 s`);
}
