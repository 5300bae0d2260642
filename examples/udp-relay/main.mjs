// A UDP relay with a pinned egress address: `node main.mjs config.json`. See README.md.
import { log } from '../shared/log.mjs';
import { readConfig } from './config.mjs';
import { Relay } from './relay.mjs';

try {
  const relay = new Relay(readConfig(process.argv[2] ?? new URL('config.json', import.meta.url)));
  const stop = () => {
    // A second signal ends the process at once, as signals do.
    for (const signal of ['SIGTERM', 'SIGINT']) process.off(signal, stop);
    void relay.stop();
  };
  process.on('SIGUSR2', () => relay.report());
  relay.start();
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, stop);
} catch (error) {
  log('error', 'not-started', { message: error.message });
  // A route may listen already.
  process.exit(1);
}
