// The proxy: who may do what, and how it ends.
import { once } from 'node:events';
import * as http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { networkOf } from '../shared/addresses.mjs';
import { log, RateLimitedLog } from '../shared/log.mjs';
import { Names } from '../shared/names.mjs';
import { breakOff, Connections } from './connections.mjs';
import { Destinations } from './destinations.mjs';
import { answerTo, isExhaustion } from './failures.mjs';
import { forward } from './forward.mjs';
import { framingFault } from './headers.mjs';
import { FailedLogins } from './logins.mjs';
import { absoluteTarget, connectTarget } from './target.mjs';
import { Tenants } from './tenants.mjs';
import { openTunnel, refuse } from './tunnel.mjs';

export class Proxy {
  #config;
  #server;
  #tenants;
  #destinations;
  #names;
  #logins;
  #failures;
  /** Of both sides. */
  #connections = new Connections();
  #tunnels = 0;
  #isStopping = false;

  constructor(config) {
    const { limits, timeouts, logInterval } = config;
    this.#config = config;
    this.#names = new Names(config.resolvers, timeouts.connect);
    this.#logins = new FailedLogins(timeouts.failedLogin, limits.failedLogins);
    this.#destinations = new Destinations(config);
    this.#failures = new RateLimitedLog(logInterval);
    const shared = { connections: this.#connections, destinations: this.#destinations, names: this.#names };
    this.#tenants = new Tenants(config.tenants, { ...shared, timeouts, log: this.#failures });
    this.#server = http.createServer({
      maxHeaderSize: limits.headerBytes,
      headersTimeout: timeouts.headers,
      connectionsCheckingInterval: Math.min(1000, timeouts.headers),
      keepAliveTimeout: timeouts.keepAlive,
      // An upload may take as long as it likes, as long as it moves.
      requestTimeout: 0,
      // Whatever NODE_OPTIONS says.
      insecureHTTPParser: false,
    });
    // Every header counts, up to `headerBytes`: by default those after the first 1,000 are parsed, and left out, and a
    // Content-Length may be among them.
    this.#server.maxHeadersCount = 0;
    this.#server.on('connection', (socket) => this.#connections.add(socket));
    // Later than upstream's, which is to be answered by 504.
    this.#server.timeout = timeouts.connect + timeouts.idle + 1000;
    this.#server.maxConnections = limits.connections;
    this.#server.on('drop', () =>
      this.#failures.write('drop', 'warn', 'connection-limit', { limit: limits.connections }),
    );
    this.#server.on('connect', (request, client, head) => this.#connect(request, client, head));
    for (const event of ['request', 'checkContinue']) {
      this.#server.on(event, (request, response) => this.#request(request, response));
    }
  }

  /** Resolves when it accepts connections. */
  async start() {
    const { host, port } = this.#config.listen;
    await once(this.#server.listen(port, host), 'listening');
    this.#server.on('error', ({ message }) => this.#failures.write('accept', 'error', 'accept-failed', { message }));
    log('info', 'listening', { host, port });
  }

  /** The sources of these settings are in force from now on, and nothing else of them. */
  setSources(tenants) {
    this.#destinations.addSources(tenants);
    this.#tenants.setSources(tenants);
  }

  /** Accepts no more, waits for what is under way until the deadline, and breaks off the rest. Resolves when nothing is open. */
  async stop() {
    const { shutdown } = this.#config.timeouts;
    log('info', 'stopping', { deadline: shutdown, tunnels: this.#tunnels });
    this.#isStopping = true;
    this.#server.close();
    this.#tenants.closeIdle();
    await Promise.race([this.#connections.closed(), sleep(shutdown, undefined, { ref: false })]);
    const cut = this.#tunnels;
    this.#connections.breakOff();
    this.#names.cancel();
    await this.#connections.closed();
    this.#failures.flush();
    log('info', 'stopped', { cut });
  }

  /** The tenant, its session, and one of its connections; or the answer that says why not, after `delay` where there is one. */
  #admit(request, target) {
    const network = networkOf(request.socket.remoteAddress ?? '');
    const retry = { 'Retry-After': this.#config.retryAfter };
    if (this.#logins.isFull(network)) return { refusal: { status: 429, text: 'too many passwords', headers: retry } };
    const { tenant, session } = this.#tenants.authenticate(request) ?? {};
    if (tenant === undefined) {
      const headers = { 'Proxy-Authenticate': 'Basic realm="forward-proxy", charset="UTF-8"' };
      const isGuess = 'proxy-authorization' in request.headers;
      if (isGuess) this.#failures.write('login', 'warn', 'login-failed', { client: network });
      return { refusal: { status: 407, text: 'who are you?', headers }, guesser: isGuess ? network : undefined };
    }
    if (target === undefined) return { refusal: { status: 400, text: 'not a request to a proxy' } };
    const fault = framingFault(request);
    if (fault !== undefined) return { refusal: fault };
    const release = tenant.take();
    if (release === undefined) {
      this.#failures.write(`limit ${tenant.name}`, 'warn', 'tenant-limit', { tenant: tenant.name });
      return { refusal: { status: 429, text: 'too many connections', headers: retry } };
    }
    return { tenant, session, release };
  }

  /** The answer for the client, and a line for the operator. */
  #failed(tenant, { host, port }, error) {
    const answer = answerTo(error);
    const { status } = answer;
    const { code, reason, message, localAddress } = error;
    const event = isExhaustion(error) ? 'exhausted' : 'upstream-failed';
    this.#failures.write(`${event} ${tenant.name} ${status}`, status === 503 ? 'error' : 'warn', event, {
      ...{ tenant: tenant.name, status, host, port, localAddress, code, reason, message },
    });
    return status === 503 ? { ...answer, headers: { 'Retry-After': this.#config.retryAfter } } : answer;
  }

  #connect(request, client, head) {
    // An 'error' is always followed by 'close', which is what counts.
    client.on('error', () => {});
    // Core's listener would end it, as if that were the end of what the destination has to say.
    client.removeAllListeners('timeout');
    client.setTimeout(this.#server.timeout, () => breakOff(client));
    const target = connectTarget(request.url);
    const answer = (refusal) => {
      refuse(client, refusal);
      this.#connections.closeWithin(client, this.#config.timeouts.refused);
    };
    const { refusal, guesser, tenant, session, release } = this.#admit(request, target);
    if (refusal) return this.#refuse(refusal, guesser, answer);
    const upstream = openTunnel(tenant, { ...target, session }, client, head, this.#config, (error) =>
      answer(this.#failed(tenant, target, error)),
    );
    let open = 2;
    this.#tunnels++;
    for (const socket of [client, upstream]) {
      socket.once('close', () => {
        if (--open > 0) return;
        this.#tunnels--;
        release();
      });
    }
  }

  #request(request, response) {
    const target = absoluteTarget(request.url, request.method);
    const answer = ({ status, text, headers = {} }) => {
      // The connection is closed, because there may be a body that nobody reads.
      response.writeHead(status, http.STATUS_CODES[status], {
        ...headers,
        'Content-Type': 'text/plain',
        Connection: 'close',
      });
      response.end(`${status} ${http.STATUS_CODES[status]}: ${text}\n`);
      this.#connections.closeWithin(request.socket, this.#config.timeouts.refused);
    };
    const { refusal, guesser, tenant, session, release } = this.#admit(request, target);
    if (refusal) return this.#refuse(refusal, guesser, answer);
    response.once('close', () => {
      release();
      // Connections would otherwise wait for another request until the deadline.
      if (this.#isStopping) setImmediate(() => this.#closeIdle());
    });
    const fail = (error) => answer(this.#failed(tenant, target, error));
    try {
      forward(tenant, { ...target, session }, request, response, this.#config, fail);
    } catch (error) {
      // Something that the parser takes and http.request does not.
      fail(error);
    }
  }

  /** At once, or later to somebody who guesses passwords. */
  #refuse(refusal, guesser, answer) {
    if (guesser === undefined) answer(refusal);
    else this.#logins.delay(guesser, () => answer(refusal));
  }

  #closeIdle() {
    this.#server.closeIdleConnections();
    this.#tenants.closeIdle();
  }
}
