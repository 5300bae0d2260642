// The command line against the table of commands. Errors name an option as it was typed.
import { parseArgs } from 'node:util';
import { type Command, HELP, type Option } from './commands';
import type { PortRange } from '../values/port_range';

/** The command line makes no sense. */
export class UsageError extends Error {}

/** One option as it was given. */
export interface Given {
  /** As it was typed: `-n`, `--count`. */
  readonly typed: string;
  readonly text: string;
}

/** What was given to a command. */
export class Arguments {
  readonly operands: readonly string[];
  readonly #given: ReadonlyMap<string, Given>;

  constructor(operands: readonly string[], given: ReadonlyMap<string, Given>) {
    this.operands = operands;
    this.#given = given;
  }

  flag(name: string): boolean {
    return this.#given.has(name);
  }

  get(name: string): Given | undefined {
    return this.#given.get(name);
  }

  number(name: string, low: number, high: number): number | undefined {
    const given = this.get(name);
    return given && numberOf(given, low, high);
  }

  integer(name: string, low: number, high: number): number | undefined {
    const given = this.get(name);
    return given && integerOf(given, low, high);
  }

  range(name: string): PortRange | undefined {
    const given = this.get(name);
    if (given === undefined) return undefined;
    const [, low, high] = (/^(\d{1,5})-(\d{1,5})$/.exec(given.text) ?? []).map(Number);
    if (low === undefined || high === undefined || low < 1 || low > high || high > 65535) {
      throw wrong(given, 'LOW-HIGH, such as 1024-65000');
    }
    return { low, high };
  }
}

/** `must` completes "must be". */
export function wrong({ typed, text }: Given, must: string): UsageError {
  return new UsageError(`${typed} must be ${must}, and is '${text}'`);
}

export function numberOf(given: Given, low: number, high: number): number {
  const value = Number(given.text);
  if (given.text.trim() === '' || !(value >= low && value <= high))
    throw wrong(given, `a number from ${low} to ${high}`);
  return value;
}

export function integerOf(given: Given, low: number, high: number): number {
  if (!/^\d{1,16}$/.test(given.text) || Number(given.text) < low || Number(given.text) > high) {
    throw wrong(given, `a whole number from ${low} to ${high}`);
  }
  return Number(given.text);
}

function check(
  option: Option | undefined,
  token: { rawName: string; value?: string | undefined; inlineValue?: boolean | undefined },
): Given {
  const { rawName: typed, value, inlineValue } = token;
  if (option === undefined) throw new UsageError(`there is no option ${typed}`);
  if (option.value === undefined) {
    if (value !== undefined) throw new UsageError(`${typed} takes no value, and '${value}' was given`);
    return { typed, text: '' };
  }
  // Whoever means a value like that writes it as --option=-value.
  if (value === undefined || (inlineValue !== true && /^-./.test(value))) {
    const follows = value === undefined ? '' : `, and ${value} follows`;
    throw new UsageError(`${typed} needs a value, ${option.value}${follows}`);
  }
  const given = { typed, text: value };
  if (option.choices !== undefined && !option.choices.includes(value)) throw wrong(given, option.choices.join(' or '));
  return given;
}

/** Whether help is asked for, anywhere before `--`. */
export function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return args.slice(0, end < 0 ? undefined : end).some((text) => text === '--help' || text === '-h');
}

/** Reads the arguments of this command. @throws UsageError */
export function parse(command: Command, args: readonly string[]): Arguments {
  const options = [...command.options, HELP];
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      options.map(({ name, short, value }) => [
        name,
        {
          type: value === undefined ? ('boolean' as const) : ('string' as const),
          ...(short !== undefined && { short }),
        },
      ]),
    ),
  });
  const given = new Map<string, Given>();
  const operands: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') operands.push(token.value);
    if (token.kind !== 'option') continue;
    const option = options.find(({ name }) => name === token.name);
    const one = check(option, token);
    if (given.has(token.name)) throw new UsageError(`${one.typed} is given twice`);
    given.set(token.name, one);
  }
  const [surplus] = operands;
  if (command.operands === undefined && surplus !== undefined) {
    throw new UsageError(`${command.name} takes no operand, and '${surplus}' was given`);
  }
  return new Arguments(operands, given);
}
