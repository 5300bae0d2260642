// An HTTP forward proxy with source addresses for each tenant: `node main.mjs config.json`. See README.md.
import { log } from '../shared/log.mjs';
import { readConfig } from './config.mjs';
import { Proxy } from './proxy.mjs';

const file = process.argv[2] ?? new URL('config.json', import.meta.url);

try {
  const proxy = new Proxy(readConfig(file));
  // Before it says that it listens: without a handler SIGHUP ends the process.
  process.on('SIGHUP', () => {
    try {
      proxy.setSources(readConfig(file).tenants);
      log('info', 'reloaded', {});
    } catch (error) {
      log('error', 'not-reloaded', { message: error.message });
    }
  });
  await proxy.start();
  const stop = () => {
    // A second signal ends the process at once, as signals do.
    for (const signal of ['SIGTERM', 'SIGINT']) process.off(signal, stop);
    void proxy.stop();
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, stop);
} catch (error) {
  log('error', 'not-started', { message: error.message });
  process.exitCode = 1;
}
