#!/usr/bin/env node
// The command `connectx`. It alone decides about exit codes; see docs/cli.md.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Arguments, asksForHelp, integerOf, parse, UsageError, wrong } from './cli/arguments';
import { type Command, COMMANDS, EXIT } from './cli/commands';
import { examine } from './cli/doctor';
import { exporter, readListen } from './cli/exporter';
import { selectionOf } from './cli/filter';
import { commandHelp, programHelp } from './cli/help';
import { parseLocal, pipeTcp, pipeUdp } from './cli/netcat';
import { writeWhole } from './cli/output';
import { prometheusText } from './cli/prometheus';
import { usageTable } from './cli/table';
import { coloured, doctorText, plain, printable } from './cli/text';
import { watch } from './cli/watch';
import { fullest } from './usage/fullest';
import { portUsage } from './usage/port_usage';

const { stdout, stderr } = process;

/** https://no-color.org: set and not empty. */
const isColoured = stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
const paint = isColoured ? coloured : plain;
const MOST = 1e9;

async function usageCommand(args: Arguments): Promise<number> {
  if (args.flag('json') && args.flag('prometheus')) throw new UsageError('--json or --prometheus, not both');
  const threshold = args.number('threshold', 0, 100);
  const limit = args.integer('limit', 1, MOST);
  const output = args.get('output');
  const { filter, includes } = await selectionOf(args);
  const usage = (await portUsage(filter)).filter(includes);
  const { shown, rest } = fullest(usage, limit);
  const text = (): string => {
    if (args.flag('prometheus')) return prometheusText({ shown, rest }, limit !== undefined);
    if (args.flag('json')) return `${JSON.stringify([...shown, ...rest.map(asGroup)], undefined, 2)}\n`;
    const width = stdout.isTTY && output === undefined ? stdout.columns : undefined;
    return `${usageTable(shown, width, output === undefined ? paint : plain, rest).join('\n')}\n`;
  };
  if (output === undefined) stdout.write(text());
  else writeWhole(output, text());
  const isOver = threshold !== undefined && usage.some(({ ratio }) => ratio * 100 >= threshold);
  return isOver ? EXIT.over : EXIT.success;
}

/** The rest as an entry of the array: with what it has of a group, and null for what it has not. */
function asGroup({ protocol, groups, used, timeWait, ratio }: ReturnType<typeof fullest>['rest'][number]): object {
  const none = { family: null, localAddress: null, remoteAddress: null, remotePort: null };
  return { protocol, ...none, used, timeWait, capacity: null, ratio, groups };
}

async function exporterCommand(args: Arguments): Promise<number> {
  const listen = readListen(args.get('listen') ?? { typed: '--listen', text: '127.0.0.1:9469' });
  const limit = args.integer('limit', 1, 10_000) ?? 100;
  const reserve = args.range('reserve');
  await exporter(listen, { limit, reserve, version: version(), selection: await selectionOf(args) });
  return EXIT.success;
}

async function watchCommand(args: Arguments): Promise<number> {
  const interval = args.number('interval', 0.1, 86_400) ?? 1;
  const count = args.integer('count', 1, MOST);
  const json = args.flag('json');
  const isScreen = stdout.isTTY && process.stdin.isTTY && !json;
  if (!isScreen && !json && count === undefined) {
    throw new UsageError('watch needs a terminal here; without one, -n COUNT or --json, or see connectx usage');
  }
  const selection = await selectionOf(args);
  await watch({
    interval: interval * 1000,
    count,
    selection,
    how: json ? 'json' : isScreen ? 'screen' : 'text',
    paint,
  });
  return EXIT.success;
}

async function doctorCommand(args: Arguments): Promise<number> {
  const checks = await examine({ range: args.range('range'), reserve: args.range('reserve') });
  stdout.write(args.flag('json') ? `${JSON.stringify(checks, undefined, 2)}\n` : doctorText(checks, paint));
  return checks.some(({ level }) => level === 'finding') ? EXIT.findings : EXIT.success;
}

async function connectCommand(args: Arguments): Promise<number> {
  const [host, service] = args.operands;
  if (host === undefined || service === undefined || args.operands.length > 2) {
    throw new UsageError('connect takes two operands, HOST and PORT');
  }
  const port = integerOf({ typed: 'PORT', text: service }, 1, 65535);
  const local = args.get('local');
  const end = local === undefined ? { localAddress: undefined, localPort: undefined } : parseLocal(local.text);
  if (local !== undefined && end === undefined) throw wrong(local, 'ADDR[:PORT]');
  const wait = (args.number('wait', 0, 86_400) ?? 1) * 1000;
  const tell = (text: string): void => {
    if (args.flag('verbose')) stderr.write(`${text}\n`);
  };
  const target = { host, port, localAddress: end?.localAddress, localPort: end?.localPort };
  if (args.flag('udp')) await pipeUdp(target, wait, tell);
  else await pipeTcp(target, tell);
  return EXIT.success;
}

const RUN: Readonly<Record<string, (args: Arguments) => Promise<number>>> = {
  usage: usageCommand,
  exporter: exporterCommand,
  watch: watchCommand,
  doctor: doctorCommand,
  connect: connectCommand,
};

const commandOf = (name: string): Command | undefined => COMMANDS.find((command) => command.name === name);

async function run([name = '', ...args]: string[]): Promise<number> {
  const [topic = ''] = args;
  if (name === '--help' || name === '-h' || (name === 'help' && topic === '')) {
    stdout.write(programHelp());
    return EXIT.success;
  }
  if (name === '--version' || name === '-V') {
    stdout.write(`${version()}\n`);
    return EXIT.success;
  }
  const command = commandOf(name === 'help' ? topic : name);
  const run = RUN[command?.name ?? ''];
  if (command === undefined || run === undefined) {
    if (name === '') throw new UsageError('which command?');
    throw new UsageError(
      name.startsWith('-') ? `there is no option ${name}` : `there is no command ${name === 'help' ? topic : name}`,
    );
  }
  if (name === 'help' || asksForHelp(args)) {
    stdout.write(commandHelp(command));
    return EXIT.success;
  }
  return run(parse(command, args));
}

function version(): string {
  return (JSON.parse(readFileSync(join(__dirname, '../package.json'), 'utf8')) as { version: string }).version;
}

/** Arguments that connect() refuses are the caller's; all others are failures. */
function isUsageError(error: unknown): boolean {
  const { code = '' } = error as { code?: string };
  return error instanceof UsageError || /^ERR_(INVALID_ARG|INVALID_IP|SOCKET_BAD|OUT_OF_RANGE)/.test(code);
}

function fail(error: unknown): void {
  const isUsage = isUsageError(error);
  // Node's own may have several lines.
  const text = (error as Error).message.split('\n').map(printable).join('\n');
  const [name = ''] = process.argv.slice(2);
  const help = commandOf(name) === undefined ? 'connectx --help' : `connectx ${name} --help`;
  stderr.write(`connectx: ${text}\n${isUsage ? `See ${help}.\n` : ''}`);
  process.exitCode = isUsage ? EXIT.usage : EXIT.failure;
}

stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A reader that has gone, as `head` has, is no failure; there is nobody left to write to.
  if (error.code !== 'EPIPE') fail(new Error(`standard output: ${error.message}`, { cause: error }));
  process.exit();
});

// Not process.exit(): what has been written to a pipe would be lost.
void run(process.argv.slice(2)).then((code) => (process.exitCode ??= code), fail);
