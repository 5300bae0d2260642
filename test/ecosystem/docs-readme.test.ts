// The proxy of README.md, as a newcomer starts it: two tenants, each from addresses of its own.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { blocksOf, root } from '../helpers/documents.js';
import { plainEnvironment } from '../helpers/environment.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { leftOutWithout } from '../helpers/programs.js';

const leftOut = leftOutWithout('curl', 'python3');

describeIsolated('README.md', () => {
  useNetwork({ range: [32768, 60999] });

  test.skipIf(leftOut)(`the proxy asks as each tenant${leftOut}`, async () => {
    const [block] = blocksOf('README.md').filter(({ code }) => code.includes('examples/forward-proxy/main.mjs'));
    const commands = block?.code.trim().split('\n') ?? [];
    const expected = commands.flatMap((line) => /# goes out from (.*)$/.exec(line)?.[1] ?? []);
    expect(expected).toEqual(['127.0.0.11', '127.0.0.21 or .22']);
    // What it starts ends with it: all of a session of its own.
    const started =
      'until (echo > /dev/tcp/127.0.0.1/3128 && echo > /dev/tcp/127.0.0.2/8000) 2> /dev/null; do sleep 0.1; done';
    const script = [
      `trap 'trap "" TERM; kill 0; wait' EXIT`,
      ...commands.map((line) => (line.startsWith('sleep ') ? started : line)),
    ].join('\n');
    const options = { cwd: root, env: plainEnvironment(), timeout: 20_000 };
    const { stderr } = await promisify(execFile)('setsid', ['--wait', 'bash', '-ec', script], options);
    // As Python's server writes them to its log.
    const clients = [...stderr.matchAll(/([\d.]+) - - .*GET/g)].map(([, client]) => client);
    expect(clients).toEqual(['127.0.0.11', expect.stringMatching(/^127\.0\.0\.2[12]$/)]);
  });
});
