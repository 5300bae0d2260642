// The files of ops/, for the tools that read them.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { runProgram } from '../helpers/cli.js';
import { read, root } from '../helpers/documents.js';
import { libraryFolder } from '../helpers/libraries.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, shell, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { slowness } from '../helpers/sockets.js';

const files = readdirSync(join(root, 'ops'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1));

test("every file is linked from the operators' guide, and is in the package", () => {
  const guide = read('docs/guides/operators.md');
  expect(files.length).toBeGreaterThan(8);
  expect(files.filter((file) => !guide.includes(`](../../${file})`))).toEqual([]);
  expect((JSON.parse(read('package.json')) as { files: string[] }).files).toContain('ops');
});

describe('Prometheus', () => {
  const promtool = (...args: string[]) => {
    need('promtool');
    return runProgram(['promtool', ...args]);
  };
  const path = (name: string) => join(root, 'ops/prometheus', name);
  interface Rules {
    groups: { rules: { alert: string }[] }[];
  }
  const alerts = (parse(read('ops/prometheus/connectx.rules.yml')) as Rules).groups.flatMap(({ rules }) =>
    rules.map(({ alert }) => alert),
  );

  test('promtool finds nothing in the rules and the configuration', async () => {
    expect(await promtool('check', 'rules', path('connectx.rules.yml'))).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`SUCCESS: ${alerts.length} rules found`),
    });
    expect(await promtool('check', 'config', path('prometheus.yml'))).toMatchObject({ code: 0 });
  });

  test('every alert has a test, in which it fires and is over', async () => {
    const text = read('ops/prometheus/connectx.rules.test.yml');
    const { tests } = parse(text) as { tests: { name: string; alert_rule_test: { exp_alerts: unknown[] }[] }[] };
    expect(tests.map(({ name }) => name).sort()).toEqual([...alerts].sort());
    for (const { name, alert_rule_test: times } of tests) {
      const fires = times.map(({ exp_alerts: expected }) => expected.length > 0);
      expect([name, fires.includes(true), fires.includes(false)]).toEqual([name, true, true]);
    }
    expect(await promtool('test', 'rules', path('connectx.rules.test.yml'))).toMatchObject({ code: 0 });
  });
});

describe('systemd', () => {
  const units = files.filter((file) => file.startsWith('ops/systemd/'));

  test('verify finds nothing in the units', async () => {
    need('systemd-analyze', 'mount');
    // As if it was installed there; the man page is not.
    const install =
      'mount -t tmpfs none /usr/local/bin && printf "#!/bin/sh\\n" > /usr/local/bin/connectx && chmod +x /usr/local/bin/connectx';
    const verify = `systemd-analyze verify --man=no ${units.map((file) => join(root, file)).join(' ')}`;
    const { code, stdout, stderr } = await runProgram(['unshare', '-m', 'sh', '-ec', `${install} && ${verify}`]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test.each(units.filter((file) => file.endsWith('.service')))('security: %s is exposed to little', async (file) => {
    need('systemd-analyze');
    // In tenths: 2.0 and above is more than "OK".
    const { code, stdout } = await runProgram([
      ...['systemd-analyze', 'security', '--offline=true', '--no-pager', '--threshold=20'],
      join(root, file),
    ]);
    expect([code, stdout.split('\n').filter((line) => line.startsWith('→'))]).toEqual([
      0,
      [expect.stringMatching(/exposure level for .*: [01]\.\d OK/)],
    ]);
  });
});

describeIsolated('sysctl.d', () => {
  useNetwork({ range: [32768, 60999] });

  test('sysctl takes every line, also those that are to be uncommented', () => {
    const file = join(root, 'ops/sysctl.d/90-connectx.conf');
    shell(`sysctl --load=${file}`);
    expect(shell('sysctl -n net.ipv4.ip_local_port_range').trim()).toMatch(/^10240\s+65000$/);
    expect(shell('sysctl -n net.ipv4.tcp_tw_reuse').trim()).toBe('1');
    const optional = [...read('ops/sysctl.d/90-connectx.conf').matchAll(/^#(net|fs)\.(\S+) = (.*)$/gm)];
    expect(optional.length).toBeGreaterThan(2);
    const [reserved] = optional;
    shell(`echo '${reserved?.[0].slice(1)}' | sysctl -p -`);
    expect(shell('sysctl -n net.ipv4.ip_local_reserved_ports').trim()).toBe('30000-32767');
    // Those of the whole machine are not set, and they exist.
    for (const [, group = '', name = ''] of optional.slice(1)) {
      if (name.startsWith('netfilter') || name.endsWith('udp_mem')) continue;
      expect(shell(`sysctl -n ${group}.${name}`)).toMatch(/^\d/);
    }
  });
});

describe('Kubernetes', () => {
  interface Manifest {
    kind: string;
    apiVersion: string;
    spec?: { template: { spec: { hostNetwork?: boolean; securityContext?: { sysctls?: { name: string }[] } } } };
  }
  const manifests = files
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => {
      const documents = parseAllDocuments(read(file));
      expect(documents.flatMap(({ errors }) => errors)).toEqual([]);
      return { file, resources: documents.map((document) => document.toJS() as Manifest) };
    });

  /** What the compiler says of these as objects of Kubernetes' own types, which are made of its OpenAPI. */
  function diagnose(resources: readonly Manifest[]): string {
    const source = resources
      .map((resource, n) => {
        const [group = '', version] = resource.apiVersion.includes('/')
          ? resource.apiVersion.split('/')
          : ['core', resource.apiVersion];
        return `import type { ${resource.kind} as Kind${n} } from 'kubernetes-types/${group}/${version}';\nexport const resource${n}: Kind${n} = ${JSON.stringify(resource)};\n`;
      })
      .join('');
    const folder = folderWith({ 'manifest.ts': source });
    const program = ts.createProgram({
      rootNames: [join(folder, 'manifest.ts')],
      options: {
        noEmit: true,
        strict: true,
        module: ts.ModuleKind.NodeNext,
        types: [],
        lib: ['lib.es5.d.ts'],
        skipLibCheck: true,
        paths: { 'kubernetes-types/*': [join(libraryFolder('kubernetes-types'), '*')] },
      },
    });
    return ts.formatDiagnostics(ts.getPreEmitDiagnostics(program), ts.createCompilerHost({}));
  }

  test('the types of Kubernetes take them, and no field that there is not', { timeout: 120_000 * slowness }, () => {
    const resources = manifests.flatMap((manifest) => manifest.resources);
    expect(resources.filter(({ kind }) => kind === 'DaemonSet')).toHaveLength(manifests.length);
    expect(diagnose(resources)).toBe('');
    // The control.
    const wrong = structuredClone(resources.find(({ kind }) => kind === 'DaemonSet')) as Manifest;
    Object.assign(wrong.spec?.template.spec ?? {}, { sysctls: [] });
    expect(diagnose([wrong])).toMatch(/"sysctls"' does not exist in type 'PodSpec'/);
  });

  // https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
  const SAFE = ['net.ipv4.ip_local_port_range', 'net.ipv4.ip_local_reserved_ports'];

  test.each(manifests)('the sysctls of $file are safe ones, and none are set on the host network', ({ resources }) => {
    for (const { spec } of resources) {
      const names = (spec?.template.spec.securityContext?.sysctls ?? []).map(({ name }) => name);
      expect(names.filter((name) => !SAFE.includes(name))).toEqual([]);
      if (spec?.template.spec.hostNetwork === true) expect(names).toEqual([]);
    }
  });

  test('one of them reserves ports', () => {
    expect(manifests.map(({ resources }) => JSON.stringify(resources)).join('')).toContain(
      'net.ipv4.ip_local_reserved_ports',
    );
  });
});

test('the dashboard: one page, every panel on it, every query with the variables that there are', () => {
  interface Panel {
    id: number;
    type: string;
    title: string;
    gridPos: { x: number; y: number; w: number; h: number };
    targets: { expr: string; refId: string }[];
  }
  const { panels, templating, uid } = JSON.parse(read('ops/grafana/connectx.json')) as {
    panels: Panel[];
    templating: { list: { name: string }[] };
    uid: string;
  };
  expect(uid).toMatch(/^[\w-]{1,40}$/);
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  const variables = [...templating.list.map(({ name }) => name), '__rate_interval'];
  const taken = new Set<string>();
  for (const { title, gridPos, targets } of panels) {
    expect([title, gridPos.x + gridPos.w <= 24, targets.length > 0]).toEqual([title, true, true]);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect([title, taken.has(`${x} ${y}`)]).toEqual([title, false]);
        taken.add(`${x} ${y}`);
      }
    }
    for (const { expr } of targets) {
      const used = [...expr.matchAll(/\$(\w+)/g)].map(([, name = '']) => name);
      expect([title, used.filter((name) => !variables.includes(name))]).toEqual([title, []]);
      expect(used).toContain('instance');
    }
  }
});
