#!/usr/bin/env node
// The command `connectx`. It alone decides about exit codes; see docs/cli.md.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseLocal, pipeTcp, pipeUdp } from './cli/netcat';
import { examine } from './cli/doctor';
import { coloured, doctorText, plain, printable, prometheusText, usageTable } from './cli/text';
import { watch } from './cli/watch';
import { portUsage, type UsageFilter } from './usage/port_usage';
import type { PortRange } from './values/port_range';

const HELP = `usage: connectx COMMAND [OPTIONS]

  usage    ports in use for each source and destination, fullest first
             --json              as JSON
             --prometheus        as metrics for Prometheus
             --threshold PCT     exit with 2 when a destination has PCT % or more in use
             --protocol tcp|udp, --source ADDR, --destination ADDR, --port PORT
                                 only these
  watch    the same, live; keys: q quits, f u t d sort
             --interval SECONDS  default 1; and the filters of usage
  doctor   what stands in the way of many connections, and remedies; exit with 1 on findings
             --json              as JSON
             --range LOW-HIGH    as if this were the ephemeral range: which listeners would it clash with?
  connect  standard input and output over a pinned 4-tuple
             [--udp] [--local ADDR[:PORT]] HOST PORT
             --wait SECONDS      UDP: how long to wait for answers after the end of input; default 1
             --verbose           the 4-tuple on standard error

  --help, --version

Exit codes: 0 success, 1 findings, 2 over the threshold, 3 failure, 64 wrong usage.
`;

const EXIT = { success: 0, findings: 1, over: 2, failure: 3, usage: 64 } as const;

/** The command line makes no sense. */
class UsageError extends Error {}

const { stdout, stderr } = process;

/** https://no-color.org: set and not empty. */
const isColoured = stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
const paint = isColoured ? coloured : plain;

function number(name: string, text: string | undefined, low: number, high: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !(value >= low && value <= high)) {
    throw new UsageError(`${name} must be a number from ${low} to ${high}, and is '${text}'`);
  }
  return value;
}

const FILTERS = {
  protocol: { type: 'string' },
  source: { type: 'string' },
  destination: { type: 'string' },
  port: { type: 'string' },
} as const;

function filterOf(values: { protocol?: string; source?: string; destination?: string; port?: string }): UsageFilter {
  return {
    // What it must be is for portUsage() to say.
    protocol: values.protocol as UsageFilter['protocol'],
    localAddress: values.source,
    remoteAddress: values.destination,
    remotePort: number('--port', values.port, 0, 65535),
  };
}

async function usageCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'boolean' },
      prometheus: { type: 'boolean' },
      threshold: { type: 'string' },
      ...FILTERS,
    },
  });
  if (values.json && values.prometheus) throw new UsageError('--json or --prometheus, not both');
  const threshold = number('--threshold', values.threshold, 0, 100);
  const usage = await portUsage(filterOf(values));
  if (values.json) stdout.write(`${JSON.stringify(usage, undefined, 2)}\n`);
  else if (values.prometheus) stdout.write(prometheusText(usage));
  else stdout.write(`${usageTable(usage, stdout.isTTY ? stdout.columns : undefined, paint).join('\n')}\n`);
  const isOver = threshold !== undefined && usage.some(({ ratio }) => ratio * 100 >= threshold);
  return isOver ? EXIT.over : EXIT.success;
}

async function watchCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { interval: { type: 'string' }, ...FILTERS } });
  const interval = number('--interval', values.interval, 0.1, 86_400) ?? 1;
  if (!stdout.isTTY || !process.stdin.isTTY) throw new UsageError('watch needs a terminal; try usage');
  return watch(interval * 1000, filterOf(values), isColoured);
}

function rangeOf(text: string | undefined): PortRange | undefined {
  if (text === undefined) return undefined;
  const [, low, high] = (/^(\d{1,5})-(\d{1,5})$/.exec(text) ?? []).map(Number);
  if (low === undefined || high === undefined || low < 1 || low > high || high > 65535) {
    throw new UsageError(`--range must be LOW-HIGH, such as 1024-65000, and is '${text}'`);
  }
  return { low, high };
}

async function doctorCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { json: { type: 'boolean' }, range: { type: 'string' } } });
  const checks = await examine(rangeOf(values.range));
  stdout.write(values.json ? `${JSON.stringify(checks, undefined, 2)}\n` : doctorText(checks, paint));
  return checks.some(({ level }) => level === 'finding') ? EXIT.findings : EXIT.success;
}

async function connectCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      udp: { type: 'boolean' },
      local: { type: 'string' },
      wait: { type: 'string' },
      verbose: { type: 'boolean' },
    },
  });
  const [host, service] = positionals;
  if (host === undefined || service === undefined || positionals.length > 2)
    throw new UsageError('HOST and PORT, please');
  const port = number('PORT', service, 1, 65535) ?? 0;
  const local =
    values.local === undefined ? { localAddress: undefined, localPort: undefined } : parseLocal(values.local);
  if (local === undefined) throw new UsageError(`--local must be ADDR[:PORT], and is '${values.local}'`);
  const wait = (number('--wait', values.wait, 0, 86_400) ?? 1) * 1000;
  const tell = (text: string): void => {
    if (values.verbose) stderr.write(`${text}\n`);
  };
  if (values.udp) await pipeUdp({ host, port, ...local }, wait, tell);
  else await pipeTcp({ host, port, ...local }, tell);
  return EXIT.success;
}

const COMMANDS: Readonly<Record<string, (args: string[]) => Promise<number>>> = {
  usage: usageCommand,
  watch: watchCommand,
  doctor: doctorCommand,
  connect: connectCommand,
};

async function run([name = '', ...args]: string[]): Promise<number> {
  if (name === '--help' || name === 'help' || args.includes('--help')) {
    stdout.write(HELP);
    return EXIT.success;
  }
  if (name === '--version') {
    stdout.write(`${version()}\n`);
    return EXIT.success;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw new UsageError(name === '' ? 'which command?' : `no such command: ${name}`);
  return command(args);
}

function version(): string {
  return (JSON.parse(readFileSync(join(__dirname, '../package.json'), 'utf8')) as { version: string }).version;
}

/** Errors of parseArgs and of validation are the caller's; all others are failures. */
function isUsageError(error: unknown): boolean {
  const { code = '' } = error as { code?: string };
  return error instanceof UsageError || /^ERR_(PARSE_ARGS|INVALID_ARG|INVALID_IP|SOCKET_BAD|OUT_OF_RANGE)/.test(code);
}

// A reader that has gone, as `head` has, is no failure; there is nobody left to write to.
stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

// Not process.exit(): what has been written to a pipe would be lost.
void run(process.argv.slice(2)).then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    const isUsage = isUsageError(error);
    const { message } = error as Error;
    // Node's own may have several lines.
    const text = message.split('\n').map(printable).join('\n');
    stderr.write(`connectx: ${text}\n${isUsage ? 'See connectx --help.\n' : ''}`);
    process.exitCode = isUsage ? EXIT.usage : EXIT.failure;
  },
);
