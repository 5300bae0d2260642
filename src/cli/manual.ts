// The man page and the completions of bash and zsh, out of the table of commands. scripts/build-manual.mjs writes them to dist/.
import { type Command, COMMANDS, HELP, type Option, VERSION } from './commands';
import { wrap } from './help';

const roff = (text: string): string =>
  wrap(text.replaceAll('\\', '\\e').replaceAll('-', '\\-'), 78)
    .map((line) => line.replace(/^[.']/, '\\&$&'))
    .join('\n');

const optionRoff = ({ name, short, value }: Option): string => {
  const names = [...(short === undefined ? [] : [`\\fB\\-${short}\\fR`]), `\\fB\\-\\-${roff(name)}\\fR`].join(', ');
  return value === undefined ? names : `${names} \\fI${roff(value)}\\fR`;
};

function commandRoff({ name, summary, operands, options, details, exits }: Command): string {
  return [
    `.SS connectx ${name} [OPTIONS]${operands === undefined ? '' : ` ${operands}`}`,
    roff(`${summary[0]?.toUpperCase() ?? ''}${summary.slice(1)}.`),
    ...[...options, HELP].flatMap((option) => ['.TP', optionRoff(option), roff(`${option.help}.`)]),
    ...details.flatMap((text) => ['.PP', roff(text)]),
    '.PP',
    'Exit status:',
    ...exits.flatMap(([code, meaning]) => ['.TP', `.B ${code}`, roff(`${meaning}.`)]),
  ].join('\n');
}

/** connectx(1), in the macros of man(7). */
export function manPage(version: string): string {
  return [
    `.TH CONNECTX 1 "" "connectx ${roff(version)}" "User Commands"`,
    '.SH NAME',
    'connectx \\- ports in use for outgoing connections',
    '.SH SYNOPSIS',
    ...COMMANDS.flatMap(({ name, operands }) => [
      `.B connectx ${name}`,
      `[OPTIONS]${operands === undefined ? '' : ` ${operands}`}`,
      '.br',
    ]),
    '.B connectx',
    `[${optionRoff(HELP)}] [${optionRoff(VERSION)}]`,
    '.SH DESCRIPTION',
    roff(
      'Shows how many ephemeral ports are in use from each source address towards each destination, warns before they run out, ' +
        'and says what stands in the way of more. No command needs a privilege.',
    ),
    '.SH COMMANDS',
    ...COMMANDS.map(commandRoff),
    '.SH ENVIRONMENT',
    '.TP',
    '.B NO_COLOR',
    'If it is set and not empty, nothing is coloured.',
    '.TP',
    '.B CONNECTX_DISABLE_NATIVE',
    'If it is set, connectx does what it does off Linux.',
    '.SH SEE ALSO',
    '.BR ss (8),',
    '.BR sysctl (8),',
    '.BR ip (7)',
    '',
  ].join('\n');
}

const spellings = ({ name, short }: Option): string[] => [`--${name}`, ...(short === undefined ? [] : [`-${short}`])];

function bashValue({ choices, completes }: Option): string {
  if (choices !== undefined) return `COMPREPLY=($(compgen -W '${choices.join(' ')}' -- "$current"))`;
  if (completes === 'file') return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))';
  if (completes === 'host') return 'COMPREPLY=($(compgen -A hostname -- "$current"))';
  return 'COMPREPLY=()';
}

/** For bash. */
export function bashCompletion(): string {
  const cases = COMMANDS.map(({ name, options }) => {
    const all = [...options, HELP];
    const values = all.filter(({ value }) => value !== undefined);
    return [
      `    ${name})`,
      '      case "$previous" in',
      ...values.map((option) => `        ${spellings(option).join('|')}) ${bashValue(option)}; return ;;`),
      '      esac',
      `      COMPREPLY=($(compgen -W '${all.flatMap(spellings).join(' ')}' -- "$current")) ;;`,
    ].join('\n');
  });
  const first = [...COMMANDS.map(({ name }) => name), ...spellings(HELP), ...spellings(VERSION)];
  return `# bash completion of connectx(1)
_connectx() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}"
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '${first.join(' ')}' -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
}
complete -F _connectx connectx
`;
}

const zshText = (text: string): string => text.replaceAll(/[[\]:\\]/g, '\\$&').replaceAll("'", "'\\''");

function zshOption(option: Option): string {
  const { value, choices, completes, help } = option;
  const action =
    choices !== undefined
      ? `(${choices.join(' ')})`
      : completes === 'file'
        ? '_files'
        : completes === 'host'
          ? '_hosts'
          : ' ';
  const tail = `[${zshText(help)}]${value === undefined ? '' : `:${zshText(value)}:${action}`}`;
  const all = spellings(option);
  return all.length === 1 ? `'${all.join('')}${tail}'` : `'(${all.join(' ')})'{${all.join(',')}}'${tail}'`;
}

/** For zsh, as a function of its fpath. */
export function zshCompletion(): string {
  const commands = COMMANDS.map(({ name, summary }) => `    '${name}:${zshText(summary)}'`);
  const cases = COMMANDS.map(({ name, operands, options }) => {
    const lines = [...options, HELP].map((option) => `        ${zshOption(option)} \\`);
    const rest =
      operands === undefined
        ? []
        : operands.split(' ').map((operand) => `        ':${operand}:${operand === 'HOST' ? '_hosts' : ' '}' \\`);
    return [
      `      ${name})`,
      '        _arguments -s \\',
      ...[...lines, ...rest].map((line) => `  ${line}`),
      '          ;;',
    ].join('\n');
  });
  return `#compdef connectx
_connectx() {
  local context state state_descr line
  typeset -A opt_args
  local -a commands=(
${commands.join('\n')}
  )
  _arguments -C \\
    ${zshOption(HELP)} \\
    ${zshOption(VERSION)} \\
    '1: :->command' \\
    '*:: :->arguments'
  case $state in
    command) _describe command commands ;;
    arguments)
      case $line[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}
_connectx "$@"
`;
}
