// The ports in use as they change, on a terminal.
import { emitKeypressEvents } from 'node:readline';
import { coloured, type Paint, plain, printable, usageTable } from './text';
import { PortMonitor } from '../usage/port_monitor';
import type { PortUsage, UsageFilter } from '../usage/port_usage';
import { byFullness } from '../usage/usage';

type Order = (a: PortUsage, b: PortUsage) => number;

/** By key. */
const ORDERS: Readonly<Record<string, { readonly name: string; readonly order: Order }>> = {
  f: { name: 'fullest', order: byFullness },
  u: { name: 'used', order: (a, b) => b.used - a.used },
  t: { name: 'TIME-WAIT', order: (a, b) => b.timeWait - a.timeWait },
  d: {
    name: 'destination',
    order: (a, b) => a.remoteAddress.localeCompare(b.remoteAddress) || a.remotePort - b.remotePort,
  },
};

const ENTER = '\x1b[?1049h\x1b[?25l'; // the alternate screen, no cursor
const LEAVE = '\x1b[?25h\x1b[?1049l';

/** One screen: never more lines than there are, and none wider. */
export function screen(
  usage: readonly PortUsage[],
  order: string,
  size: { readonly columns: number; readonly rows: number },
  paint: Paint,
): string[] {
  const { columns, rows } = size;
  const { name, order: compare } = ORDERS[order] ?? { name: 'fullest', order: byFullness };
  const head = `connectx watch  ${usage.length} destinations, by ${name}`.slice(0, columns);
  const keys = 'q quit  f fullest  u used  t TIME-WAIT  d destination'.slice(0, columns);
  const shown = [...usage].sort(compare).slice(0, Math.max(0, rows - 3));
  return [paint('bold', head), ...usageTable(shown, columns, paint), keys].slice(0, rows);
}

/** Until a key or a signal ends it; the exit code. */
export async function watch(interval: number, filter: UsageFilter, isColoured: boolean): Promise<number> {
  const { stdin, stdout } = process;
  let usage: PortUsage[] = [];
  let order = 'f';
  let problem: Error | undefined;
  const draw = () => {
    const { columns, rows } = stdout;
    const lines = screen(usage, order, { columns, rows }, isColoured ? coloured : plain);
    if (problem !== undefined) lines[0] = printable(problem.message).slice(0, columns);
    stdout.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`);
  };
  const monitor = new PortMonitor({ interval, filter });
  const ended = new Promise<number>((resolve) => {
    monitor.on('sample', (sample) => {
      usage = sample;
      problem = undefined;
      draw();
    });
    monitor.on('error', (error) => {
      problem = error;
      draw();
    });
    emitKeypressEvents(stdin);
    stdin.on('keypress', (_text, key: { name?: string; ctrl?: boolean } | undefined) => {
      const { name = '', ctrl = false } = key ?? {};
      if (name === 'q' || (ctrl && name === 'c')) resolve(0);
      else if (name in ORDERS) {
        order = name;
        draw();
      }
    });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve(0));
    stdin.once('end', () => resolve(0));
  });
  stdout.on('resize', draw);
  stdout.write(ENTER);
  stdin.setRawMode(true);
  stdin.resume();
  try {
    return await ended;
  } finally {
    await monitor.close();
    stdin.setRawMode(false);
    stdin.pause();
    stdout.off('resize', draw);
    stdout.write(LEAVE);
  }
}
