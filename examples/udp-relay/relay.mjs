// All routes together: they share the limits and the counts.
import { SourcePool } from 'connectx';
import { log, RateLimitedLog } from '../shared/log.mjs';
import { Names } from '../shared/names.mjs';
import { Flows } from './flows.mjs';
import { Guests } from './guests.mjs';
import { Hub } from './hub.mjs';
import { Resting } from './resting.mjs';
import { Route } from './route.mjs';
import { Stats } from './stats.mjs';

export class Relay {
  #config;
  #stats = new Stats();
  #hub;
  #flows;
  #resting;
  #names;
  #failures;
  #routes;
  #timers = [];

  constructor(config) {
    this.#config = config;
    const { limits, timeouts } = config;
    this.#hub = new Hub(limits.flows);
    this.#flows = new Flows(limits, this.#stats);
    this.#resting = new Resting(timeouts.rest, limits.resting, this.#hub);
    this.#names = new Names(config.resolvers, timeouts.lookup);
    this.#failures = new RateLimitedLog(config.logInterval);
    // One for all routes: the sources are shared, and their ports are counted for each upstream by itself.
    const source = new SourcePool(config.sources);
    const own = {
      hub: this.#hub,
      flows: this.#flows,
      resting: this.#resting,
      names: this.#names,
      failures: this.#failures,
    };
    const shared = { ...own, source, limits, stats: this.#stats, guests: new Guests(config) };
    this.#routes = config.routes.map((route) => new Route(route, config, shared));
  }

  start() {
    const { idle, stats } = this.#config.timeouts;
    for (const route of this.#routes) route.start();
    this.#timers.push(setInterval(() => this.#flows.evict(idle), Math.ceil(idle / 4)));
    this.#timers.push(setInterval(() => this.report(), stats));
    log('info', 'listening', { routes: this.#config.routes });
  }

  /** A line with the counts so far. */
  report() {
    const { flows, datagrams, bytes, dropped } = this.#stats;
    const { size, opening } = this.#flows;
    log('info', 'stats', {
      flows: { open: size - opening, opening, resting: this.#resting.size, ...flows },
      datagrams,
      bytes,
      dropped,
    });
  }

  /**
   * Takes no newcomers, and waits until the flows that there are have gone quiet: UDP does not say when it has ended. Resolves
   * when everything is closed.
   */
  async stop() {
    const { idle, quiet, shutdown } = this.#config.timeouts;
    log('info', 'stopping', { deadline: shutdown, flows: this.#flows.size });
    for (const timer of this.#timers) clearInterval(timer);
    for (const route of this.#routes) route.stop();
    const deadline = performance.now() + shutdown;
    await new Promise((resolve) => {
      const look = () => {
        this.#flows.evict(Math.min(idle, quiet));
        if (this.#flows.size > 0 && performance.now() < deadline) return;
        clearInterval(timer);
        resolve();
      };
      const timer = setInterval(look, Math.ceil(Math.min(quiet, shutdown) / 4));
      look();
    });
    const cut = this.#flows.size;
    this.#flows.close();
    this.#resting.close();
    this.#names.cancel();
    this.#hub.close();
    this.#failures.flush();
    this.report();
    log('info', 'stopped', { cut });
  }
}
