// One port that clients send to, and the upstream behind it.
import { networkOf } from '../shared/addresses.mjs';
import { Flow, isExhaustion } from './flow.mjs';
import { ConnectionIds, Whereabouts } from './quic.mjs';

export class Route {
  #route;
  #config;
  #shared;
  #server;
  /** While ports are exhausted newcomers are not tried: a search that finds nothing looks at every port. */
  #exhaustedUntil = 0;
  #isStopping = false;
  /** Where clients are known by the ids of QUIC. */
  #ids;

  /** `shared`: { hub, source, names, limits, flows, resting, guests, stats, failures }, of all routes together. */
  constructor(route, config, shared) {
    this.#route = route;
    this.#config = config;
    this.#shared = shared;
    if (route.quic) this.#ids = new ConnectionIds();
  }

  start() {
    this.#server = this.#shared.hub.bind(this.#route.listen, {
      heard: (run) => this.#hear(run),
      failed: ({ message }) => {
        this.#shared.failures.write('receive', 'error', 'receive-failed', { ...this.#route, message });
      },
    });
  }

  /** From now on newcomers are dropped. */
  stop() {
    this.#isStopping = true;
  }

  #hear(run) {
    const { flows, stats } = this.#shared;
    const known = flows.get(run.peer);
    if (known === undefined && this.#isOfMoved(run)) return;
    const flow = known ?? this.#welcome(run.peer);
    if (typeof flow === 'string') {
      stats.dropped[flow] += run.datagrams;
      return;
    }
    flow.send(run);
    flows.heard(flow);
  }

  /** Whether a flow of QUIC has taken it, whose client may have moved. Otherwise its sender is new. */
  #isOfMoved(run) {
    const flow = this.#ids?.flowOf(run);
    if (flow === undefined) return false;
    const { flows, guests } = this.#shared;
    const client = this.#server.peerAddress(run.peer);
    const network = networkOf(client.address);
    if (guests.refusal(client) !== undefined) return false;
    if (network !== flow.network && flows.isFull(network)) return false;
    return flow.sendFrom({ peer: run.peer, network }, run);
  }

  /** What a flow needs to follow its client. */
  #quicOf() {
    const { flows } = this.#shared;
    const whereabouts = new Whereabouts(this.#config.timeouts.move);
    return { ids: this.#ids, whereabouts, onMoved: (flow, where) => flows.move(flow, where) };
  }

  /** A flow for a new client, or the reason why there is none. */
  #welcome(peer) {
    const { flows, stats, guests, resting } = this.#shared;
    const { upstream } = this.#route;
    const client = this.#server.peerAddress(peer);
    const network = networkOf(client.address);
    const refusal = this.#isStopping ? 'stopping' : guests.refusal(client);
    if (refusal !== undefined) return refusal;
    if (performance.now() < this.#exhaustedUntil) return 'exhausted';
    const full = flows.refusal(network);
    if (full !== undefined) return full;
    const quic = this.#ids && this.#quicOf();
    const flow = new Flow({ key: peer, network, upstream, quic }, this.#shared, (reply, most) =>
      this.#reply(reply, most, flow.key),
    );
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

  /** Sends the first `most` datagrams to the client. */
  #reply(run, most, peer) {
    const { stats } = this.#shared;
    const wanted = Math.min(most, run.datagrams);
    const taken = run.forwardSome(this.#server.target(peer), wanted);
    stats.dropped.replies += wanted - taken;
    stats.passed('down', taken, Math.min(run.bytes, taken * run.size));
  }
}
