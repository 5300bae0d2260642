// docs/guides/operators-story.md, command after command, as its reader types them.
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { connect } from 'connectx';
import { expect, test } from 'vitest';
import { blocksOf, root } from '../helpers/documents.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { folderWith, Program } from '../helpers/programs.js';
import { connected, echoServer, slowness, until } from '../helpers/sockets.js';

const PAGE = 'docs/guides/operators-story.md';

/** In place of systemd, which is not there: starts what the unit says, or, of Debian's own, what they would. */
const SYSTEMCTL = `#!/bin/sh
for unit; do
  case $unit in
    connectx-*) command=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/$unit.service | sed 's/ *$CONNECTX_EXPORTER_OPTIONS//') ;;
    prometheus) command='prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=data --log.level=warn' ;;
    prometheus-alertmanager) command='prometheus-alertmanager --config.file=alertmanager.yml --storage.path=am --cluster.listen-address=' ;;
    daemon-reload | enable | restart | --now) continue ;;
    *) exit 1 ;;
  esac
  $command > $unit.log 2>&1 &
  echo $! >> pids
done
`;
const ALERTMANAGER = 'route: { receiver: nobody, group_wait: 0s }\nreceivers: [{ name: nobody }]\n';

/** What a shell does between the blocks of the page: what takes time on a real machine. */
const BEFORE: Readonly<Record<string, string>> = {
  'curl ': 'sleep 1; until curl -s http://127.0.0.1:9469/healthz > /dev/null; do sleep 0.1; done',
  'systemctl restart': "sed -i 's/15s/1s/' /etc/prometheus/prometheus.yml",
  'alert query -o extended':
    'echo fill; until amtool --alertmanager.url=http://127.0.0.1:9093 alert query alertname=ConnectxPortsHigh remote_address=127.0.1.1 2>/dev/null | grep -q ConnectxPortsHigh; do sleep 0.2; done',
  '|| true':
    'while amtool --alertmanager.url=http://127.0.0.1:9093 alert query alertname=ConnectxPortsHigh remote_address=127.0.1.1 | grep -q ConnectxPortsHigh; do sleep 0.2; done',
};

describeIsolated('the story', () => {
  useNetwork({ range: [20000, 20099] });

  test(PAGE, { timeout: 180_000 * slowness }, async () => {
    need('prometheus', 'promtool', 'prometheus-alertmanager', 'amtool', 'curl', 'sysctl', 'mount');
    await echoServer(15432, '127.0.0.1');
    await echoServer(5353, '127.0.1.1');
    const blocks = blocksOf(PAGE).filter(({ directive }) => directive?.includes('ops-story.test.ts'));
    expect(blocks.length).toBeGreaterThan(6);
    const folder = folderWith({ 'alertmanager.yml': ALERTMANAGER, pids: '' });
    // As npm installs it globally.
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    mkdirSync(join(folder, 'lib/node_modules'), { recursive: true });
    symlinkSync(root, join(folder, 'lib/node_modules/connectx'));
    writeFileSync(join(bin, 'connectx'), `#!/bin/sh\nexec ${process.execPath} ${root}/dist/cli.js "$@"\n`);
    writeFileSync(join(bin, 'systemctl'), SYSTEMCTL);
    for (const name of ['connectx', 'systemctl']) chmodSync(join(bin, name), 0o755);
    const script = [
      'set -eu',
      `export PATH=${bin}:${dirname(process.execPath)}:$PATH npm_config_prefix=${folder}`,
      'for at in /etc/sysctl.d /etc/systemd/system /etc/prometheus; do mkdir -p $at; mount -t tmpfs none $at; done',
      ...blocks.flatMap(({ code }, n) => {
        const waits = Object.entries(BEFORE).filter(([text]) => code.includes(text));
        // Before the line that needs it.
        const lines = code
          .split('\n')
          .flatMap((line) => [...waits.filter(([text]) => line.includes(text)).map(([, wait]) => wait), line]);
        return [...lines, `echo "=== ${n}"`];
      }),
      'kill $(cat pids)',
    ].join('\n');
    writeFileSync(join(folder, 'story.sh'), script);
    const shell = new Program(folder, 'unshare', '-m', '-p', '-f', '--kill-child', 'sh', 'story.sh');
    // What the proxy does, weeks later: 90 connections, until a wider range has room for them.
    await until(
      () => /^fill$/m.test(shell.output) || shell.exitCode !== null,
      () => shell.output,
      10,
    );
    // The settings of the page are in force; the range is to be the small one that fills.
    sysctl('ipv4.ip_local_port_range', '20000 20099');
    for (let n = 0; n < 90 && shell.exitCode === null; n++) {
      await connected(connect({ host: '127.0.1.1', port: 5353, localAddress: '127.0.2.2' }));
    }
    await until(
      () => shell.exitCode !== null,
      () => shell.output,
      10,
    );
    expect([shell.exitCode, shell.output]).toEqual([0, expect.any(String)]);
    const outputs = shell.output.split(/^=== \d+\n/m);
    for (const [n, { code }] of blocks.entries()) {
      for (const [, line = ''] of code.matchAll(/# prints (.*)$/gm)) {
        expect([code, outputs[n]?.split('\n')]).toEqual([code, expect.arrayContaining([line])]);
      }
    }
  });
});
