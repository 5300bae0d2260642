// Help, out of the table of commands.
import { type Command, COMMANDS, HELP, type Option, VERSION, written } from './commands';

const WIDTH = 80;
const COLUMN = 28;

/** Words as lines of at most `width` characters. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function item(title: string, text: string): string {
  const [first = '', ...rest] = wrap(text, WIDTH - COLUMN);
  const indent = ' '.repeat(COLUMN);
  const head = title.length < COLUMN - 1 ? title.padEnd(COLUMN) + first : `${title}\n${indent}${first}`;
  return [head, ...rest.map((line) => indent + line)].join('\n');
}

const optionItem = (option: Option): string =>
  item(`  ${option.short === undefined ? '    ' : `-${option.short}, `}${written(option)}`, option.help);

/** `connectx usage [OPTIONS]`. */
export function synopsis({ name, operands, options }: Command): string {
  const shown = options.map(
    (option) => `[${option.short === undefined ? '' : `-${option.short} | `}${written(option)}]`,
  );
  return ['connectx', name, ...shown, ...(operands === undefined ? [] : [operands])].join(' ');
}

function wrappedSynopsis(command: Command): string {
  const start = `connectx ${command.name} `;
  // An option and its value stay together.
  const rest = synopsis(command)
    .slice(start.length)
    .replace(/ (?=[^[]*\])/g, '\xa0');
  const indent = ' '.repeat('usage: '.length + start.length);
  const lines = wrap(rest, WIDTH - indent.length);
  return `usage: ${start}${lines.join(`\n${indent}`)}`.replaceAll('\xa0', ' ');
}

/** `connectx COMMAND --help`: about this command, and nothing else. */
export function commandHelp(command: Command): string {
  const { summary, options, details, exits } = command;
  return [
    wrappedSynopsis(command),
    '',
    ...wrap(`${summary[0]?.toUpperCase() ?? ''}${summary.slice(1)}.`, WIDTH),
    '',
    ...[...options, HELP].map(optionItem),
    '',
    ...details.flatMap((text) => [...wrap(text, WIDTH), '']),
    'Exit codes:',
    ...exits.map(([code, meaning]) => item(`  ${code}`.padEnd(6), meaning)),
    '',
  ].join('\n');
}

/** `connectx --help`: the commands. */
export function programHelp(): string {
  return [
    'usage: connectx COMMAND [OPTIONS]',
    '',
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(10)}${summary}`),
    '',
    optionItem(HELP),
    optionItem(VERSION),
    '',
    'connectx COMMAND --help has the options of a command.',
    '',
  ].join('\n');
}
