// One port that clients send to, and the upstream behind it.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { isIP, isIPv6 } from 'node:net';
import { networkOf } from '../shared/addresses.mjs';
import { Flow, isExhaustion } from './flow.mjs';

/** Clients are numeric, and every reply would otherwise wait for a lookup of nothing. */
const lookup = (address, _options, callback) => callback(null, address, isIP(address));

export class Route {
  #route;
  #config;
  #shared;
  #server;
  /** While ports are exhausted newcomers are not tried: a search that finds nothing looks at every port. */
  #exhaustedUntil = 0;
  #isStopping = false;

  /** `shared`: { source, names, limits, flows, resting, guests, stats, failures }, of all routes together. */
  constructor(route, config, shared) {
    this.#route = route;
    this.#config = config;
    this.#shared = shared;
    this.#server = dgram.createSocket({ type: isIPv6(route.listen.host) ? 'udp6' : 'udp4', lookup });
    this.#server.on('message', (message, client) => this.#hear(message, client));
  }

  async start() {
    const { host, port } = this.#route.listen;
    // With a lookup that answers at once it may be listening when bind() returns.
    const listening = once(this.#server, 'listening');
    this.#server.bind({ address: host, port });
    await listening;
    this.#server.on('error', ({ message }) => {
      this.#shared.failures.write('receive', 'error', 'receive-failed', { ...this.#route, message });
    });
  }

  /** From now on newcomers are dropped. */
  stop() {
    this.#isStopping = true;
  }

  close() {
    this.#server.close();
  }

  #hear(message, client) {
    const { flows, stats } = this.#shared;
    const key = `${client.address} ${client.port} ${this.#route.listen.host} ${this.#route.listen.port}`;
    const flow = flows.get(key) ?? this.#welcome(key, client);
    if (typeof flow === 'string') {
      stats.dropped[flow]++;
      return;
    }
    flow.send(message);
    flows.heard(flow);
  }

  /** A flow for a new client, or the reason why there is none. */
  #welcome(key, client) {
    const { flows, stats, guests, resting } = this.#shared;
    const { upstream } = this.#route;
    const network = networkOf(client.address);
    const refusal = this.#isStopping ? 'stopping' : guests.refusal(client);
    if (refusal !== undefined) return refusal;
    if (performance.now() < this.#exhaustedUntil) return 'exhausted';
    const full = flows.refusal(network);
    if (full !== undefined) return full;
    const flow = new Flow({ key, network, upstream }, this.#shared, (reply) => this.#reply(reply, client));
    const yieldPort = () => resting.yieldPort(upstream) || flows.yieldPort(upstream);
    flows.add(flow, yieldPort).then(
      () => stats.flows.opened++,
      (error) => this.#failed(flow, error),
    );
    return flow;
  }

  #failed(flow, error) {
    const { flows, stats, failures } = this.#shared;
    if (error.name === 'AbortError') return;
    const { code, reason, message } = error;
    const exhausted = isExhaustion(error);
    if (exhausted) this.#exhaustedUntil = performance.now() + this.#config.timeouts.cooldown;
    else stats.flows.failed++;
    stats.dropped[exhausted ? 'exhausted' : 'failed'] += flows.remove(flow);
    const event = exhausted ? 'exhausted' : 'flow-failed';
    const { host, port } = this.#route.upstream;
    failures.write(`${event} ${host} ${port} ${code}`, 'error', event, {
      ...{ upstream: this.#route.upstream, sources: this.#config.sources, code, reason, message },
    });
  }

  #reply(message, { address, port }) {
    const { limits, stats } = this.#shared;
    if (this.#server.getSendQueueSize() + message.length > limits.queueBytes) {
      stats.dropped.replies++;
      return;
    }
    this.#server.send(message, port, address, (error) => {
      if (error) stats.dropped.send++;
      else stats.passed('down', message.length);
    });
  }
}
