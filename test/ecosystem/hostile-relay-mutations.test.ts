// examples/udp-relay and 10,000 damaged datagrams.
import { expect, test } from 'vitest';
import { CLEAN_END } from '../helpers/examples.js';
import { forge } from '../helpers/forged.js';
import { mutated, pick, randomOf } from '../helpers/mutations.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { slowness } from '../helpers/sockets.js';
import { until } from '../helpers/udp.js';
import { clientAt, echoing, Relay, RELAY } from '../helpers/udp-relay.js';

describeIsolated('examples/udp-relay and damaged datagrams', () => {
  // So that ports rest: with none left a late answer may reach the next client.
  useNetwork({ range: [20000, 20999] });

  test(
    '10,000 damaged datagrams from everywhere: it lives, keeps nothing, and nobody hears what is not theirs',
    { timeout: 240_000 * slowness },
    async () => {
      const seed = 20_261_126;
      const random = randomOf(seed);
      const { server } = await echoing();
      // What comes from upstream is damaged, too, and sometimes late.
      server.on('message', (message, { port, address }) => {
        if (random() < 0.1) server.send(mutated(message, ['\0', 'x'.repeat(999)], random), port, address);
      });
      const limits = { flows: 50, flowsPerClient: 5, resting: 500 };
      const relay = await Relay.start({ limits, timeouts: { idle: 200, rest: 100 } });
      const clients = await Promise.all(
        Array.from({ length: 5 }, async (_, n) => ({ name: `<client ${n}>`, ...(await clientAt(`127.0.1.${n + 1}`)) })),
      );
      const words = ['\0', '\xff'.repeat(40), '<client 9>', 'x'.repeat(9000)];
      let before = { descriptors: 0, memory: 0 };
      for (let n = 0; n < 10_000; n++) {
        const port = pick([0, 1, 53, 5300, 5353, 40000, 65535, Math.floor(random() * 65536)], random);
        const address = `127.${2 + (n % 3)}.${Math.floor(random() * 4)}.${Math.floor(random() * 250)}`;
        forge({ address, port }, RELAY, mutated(Buffer.from('a question of somebody'), words, random));
        if (n % 10 === 0) for (const { name, send } of clients) send(`${name} ${n}`);
        // Neither outrun the queue of its socket nor let it rest.
        if (n % 50 === 0) await relay.stats();
        if (n === 3000) before = { descriptors: relay.descriptors(), memory: relay.memory() };
      }
      for (const { name, ask } of clients) await ask(`${name} at last`);
      const after = { descriptors: relay.descriptors(), memory: relay.memory() };
      const stats = await relay.stats();
      console.log(`relay, seed ${seed}: ${JSON.stringify({ before, after, flows: stats.flows })}`);
      expect(stats.flows.opened).toBeGreaterThan(1000);
      // Flows, ports that rest, and what it had at its start.
      expect(after.descriptors).toBeLessThan(limits.flows + limits.resting + 50);
      expect(stats.dropped.exhausted).toBe(0);
      // It stays at some 100 MB, after 60,000 datagrams as after 20,000; 10 kB kept of each would be 70 MB.
      expect(after.memory).toBeLessThan(before.memory + 60);
      for (const { name, heard } of clients) {
        // A damaged copy of its own is its own; the name of another one is not.
        expect(
          heard.filter((text) => clients.some((other) => other.name !== name && text.includes(other.name))),
        ).toEqual([]);
        expect(heard.filter((text) => text.includes('question'))).toEqual([]);
      }
      const idle = await relay.counted(({ flows }) => flows.open === 0 && flows.resting === 0);
      expect(idle.flows.opening).toBe(0);
      await until(() => relay.descriptors() < 40);
      expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
    },
  );
});
