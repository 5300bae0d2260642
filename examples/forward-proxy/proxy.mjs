// The proxy: who may do what, and how it ends.
import { once } from 'node:events';
import * as http from 'node:http';
import { log, RateLimitedLog } from '../shared/log.mjs';
import { isDeniedHost } from './destinations.mjs';
import { answerTo, DENIED, isExhaustion } from './failures.mjs';
import { forward } from './forward.mjs';
import { absoluteTarget, connectTarget } from './target.mjs';
import { Tenants } from './tenants.mjs';
import { breakOff, openTunnel, refuse } from './tunnel.mjs';

export class Proxy {
  #config;
  #server;
  #tenants;
  #failures;
  /** Both ends of each tunnel: the server does not know them any more. */
  #tunnels = new Set();
  #isStopping = false;

  constructor(config) {
    const { limits, timeouts, logInterval } = config;
    this.#config = config;
    this.#tenants = new Tenants(config);
    this.#failures = new RateLimitedLog(logInterval);
    this.#server = http.createServer({
      maxHeaderSize: limits.headerBytes,
      headersTimeout: timeouts.headers,
      connectionsCheckingInterval: Math.min(1000, timeouts.headers),
      keepAliveTimeout: timeouts.keepAlive,
      // An upload may take as long as it likes, as long as it moves.
      requestTimeout: 0,
    });
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

  /** Accepts no more, waits for what is under way until the deadline, and ends the rest. Resolves when nothing is open. */
  async stop() {
    const { shutdown } = this.#config.timeouts;
    log('info', 'stopping', { deadline: shutdown, tunnels: this.#tunnels.size / 2 });
    this.#isStopping = true;
    let cut = 0;
    const deadline = setTimeout(() => {
      cut = this.#tunnels.size / 2;
      for (const socket of this.#tunnels) breakOff(socket);
      this.#server.closeAllConnections();
    }, shutdown);
    // Tunnels count as connections of the server until they close.
    await new Promise((resolve) => this.#server.close(resolve));
    clearTimeout(deadline);
    this.#tenants.close();
    this.#failures.flush();
    log('info', 'stopped', { cut });
  }

  /** The tenant, the target and a connection for it; or the answer that says why not. */
  #admit(request, target) {
    const tenant = this.#tenants.authenticate(request);
    if (tenant === undefined) {
      const headers = { 'Proxy-Authenticate': 'Basic realm="forward-proxy", charset="UTF-8"' };
      return { refusal: { status: 407, text: 'who are you?', headers } };
    }
    if (target === undefined) return { refusal: { status: 400, text: 'not a request to a proxy' } };
    if (!/^(chunked)?$/i.test(request.headers['transfer-encoding'] ?? '')) {
      return { refusal: { status: 501, text: 'this transfer coding is not known here' } };
    }
    if (isDeniedHost(this.#config.deny, target.host)) return { refusal: DENIED };
    const release = tenant.take();
    if (release === undefined) {
      this.#failures.write(`limit ${tenant.name}`, 'warn', 'tenant-limit', { tenant: tenant.name });
      const headers = { 'Retry-After': this.#config.retryAfter };
      return { refusal: { status: 429, text: 'too many connections', headers } };
    }
    return { tenant, release };
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
    const { refusal, tenant, release } = this.#admit(request, target);
    if (refusal) return refuse(client, refusal);
    const upstream = openTunnel(tenant, target, client, head, this.#config, (error) =>
      refuse(client, this.#failed(tenant, target, error)),
    );
    let open = 2;
    for (const socket of [client, upstream]) {
      this.#tunnels.add(socket);
      socket.once('close', () => {
        this.#tunnels.delete(socket);
        if (--open === 0) release();
      });
    }
  }

  #request(request, response) {
    const target = absoluteTarget(request.url, request.method);
    const { refusal, tenant, release } = this.#admit(request, target);
    // The connection is closed, because there may be a body that nobody reads.
    const answer = ({ status, text, headers = {} }) => {
      response.writeHead(status, http.STATUS_CODES[status], {
        ...headers,
        'Content-Type': 'text/plain',
        Connection: 'close',
      });
      response.end(`${status} ${http.STATUS_CODES[status]}: ${text}\n`);
    };
    if (refusal) return answer(refusal);
    response.once('close', () => {
      release();
      // Its connection would otherwise wait for another request until the deadline.
      if (this.#isStopping) setImmediate(() => this.#server.closeIdleConnections());
    });
    forward(tenant, target, request, response, this.#config, (error) => answer(this.#failed(tenant, target, error)));
  }
}
