// Every command and option of `connectx`, once: parsing, help, the man page and the completions are made of this table. Plain data.

/** How an option or operand is written, and what it does. */
export interface Option {
  /** Without the dashes. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** What its value is called; without it the option is a flag. */
  readonly value?: string;
  /** The only values. */
  readonly choices?: readonly string[];
  /** What a shell completes the value with. */
  readonly completes?: 'file' | 'host';
  /** One sentence, without a full stop. */
  readonly help: string;
}

export interface Command {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** Operands, as they are written in a synopsis. */
  readonly operands?: string;
  readonly options: readonly Option[];
  /** Paragraphs about the command as a whole. */
  readonly details: readonly string[];
  readonly exits: readonly (readonly [code: number, meaning: string])[];
}

export const EXIT = { success: 0, findings: 1, over: 2, failure: 3, usage: 64 } as const;

const FAILED = [EXIT.failure, 'it could not do its work; standard error says what was missing, and where'] as const;
const WRONG = [EXIT.usage, 'the command line makes no sense'] as const;

const PROTOCOL = {
  name: 'protocol',
  value: 'PROTOCOL',
  choices: ['tcp', 'udp'],
  help: 'only this protocol, tcp or udp',
} as const;

const FILTERS: readonly Option[] = [
  PROTOCOL,
  { name: 'source', value: 'ADDR', help: 'only this source: an address or a CIDR block' },
  {
    name: 'destination',
    value: 'WHERE',
    completes: 'host',
    help: 'only this destination: an address, a CIDR block or a name, each with or without a port (192.0.2.1:443, [2001:db8::1]:443)',
  },
  { name: 'port', value: 'PORT', help: 'only this port of the destination' },
];

const JSON_OPTION: Option = { name: 'json', help: 'as JSON' };
const limit = (of: string): Option => ({
  name: 'limit',
  value: 'N',
  help: `the N fullest groups; the rest is summed${of}`,
});
const RESERVE: Option = {
  name: 'reserve',
  value: 'LOW-HIGH',
  help: 'ports that nobody listens on and that must be reserved all the same, such as NodePorts of Kubernetes: 30000-32767',
};

const USAGE: Command = {
  name: 'usage',
  summary: 'ports in use for each source and destination, fullest first',
  options: [
    JSON_OPTION,
    { name: 'prometheus', help: 'in the text format of Prometheus' },
    { name: 'threshold', value: 'PCT', help: 'exit with 2 when a destination has PCT % or more in use' },
    limit(''),
    {
      name: 'output',
      short: 'o',
      value: 'FILE',
      completes: 'file',
      help: 'to this file, which is replaced as a whole or not at all',
    },
    ...FILTERS,
  ],
  details: [
    'A group is one source address towards one address and port. Connections of every process count, and so do those in TIME-WAIT.',
    'A name is looked up once, and stands for all of its addresses.',
  ],
  exits: [[EXIT.success, 'success'], [EXIT.over, '--threshold: a destination is over it'], FAILED, WRONG],
};

const EXPORTER: Command = {
  name: 'exporter',
  summary: 'ports in use, listener conflicts and kernel limits over HTTP, for Prometheus',
  options: [
    { name: 'listen', short: 'l', value: 'ADDR:PORT', help: 'where to listen; default 127.0.0.1:9469' },
    limit('; default 100'),
    RESERVE,
    ...FILTERS,
  ],
  details: [
    '/metrics has the metrics, and /healthz says whether the kernel answers. Scrapes that come at the same time share one look at the ' +
      "kernel's tables.",
    'It runs until SIGTERM or SIGINT, and needs no privilege.',
  ],
  exits: [[EXIT.success, 'it was told to end'], FAILED, WRONG],
};

const WATCH: Command = {
  name: 'watch',
  summary: 'ports in use as they change',
  options: [
    { name: 'interval', short: 'i', value: 'SECONDS', help: 'from one sample to the next; default 1' },
    { name: 'count', short: 'n', value: 'COUNT', help: 'end after so many samples; needs no terminal' },
    { name: 'json', help: 'a line of JSON for each sample; needs no terminal' },
    ...FILTERS,
  ],
  details: [
    'Keys: q quits; the arrows, page up, page down, home and end scroll; f, u, t, g and d sort by fullness, ports in use, TIME-WAIT, ' +
      'growth and destination, as far as they are shown.',
    'The process is the owner of connections that were looked at; those of other users are shown to root only.',
  ],
  exits: [[EXIT.success, 'a key or a signal ended it, or COUNT was reached'], FAILED, WRONG],
};

const DOCTOR: Command = {
  name: 'doctor',
  summary: 'what stands in the way of many connections, and remedies',
  options: [
    JSON_OPTION,
    {
      name: 'range',
      value: 'LOW-HIGH',
      help: 'as if this were the ephemeral range: which listeners would it clash with?',
    },
    RESERVE,
  ],
  details: [
    'Each finding has its remedy for now, and for good where that is a different one. What cannot be read is a finding, too.',
    'A NodePort of Kubernetes has no listening socket, because kube-proxy opens none: use --reserve on a node.',
  ],
  exits: [[EXIT.success, 'no findings'], [EXIT.findings, 'findings'], FAILED, WRONG],
};

const CONNECT: Command = {
  name: 'connect',
  summary: 'standard input and output over a pinned 4-tuple',
  operands: 'HOST PORT',
  options: [
    { name: 'udp', short: 'u', help: 'UDP: each piece of input is a datagram' },
    {
      name: 'local',
      value: 'ADDR[:PORT]',
      help: 'the source: ADDR, ADDR:PORT, [ADDR]:PORT or :PORT',
    },
    {
      name: 'wait',
      value: 'SECONDS',
      help: 'UDP: how long to wait for answers after the end of input; default 1',
    },
    { name: 'verbose', short: 'v', help: 'the 4-tuple on standard error' },
  ],
  details: ['With TCP it ends when the other side has ended its half of the connection.'],
  exits: [[EXIT.success, 'success'], FAILED, WRONG],
};

export const COMMANDS: readonly Command[] = [USAGE, EXPORTER, WATCH, DOCTOR, CONNECT];

/** Of every command. */
export const HELP: Option = { name: 'help', short: 'h', help: 'this help' };
/** Of the program. */
export const VERSION: Option = { name: 'version', short: 'V', help: 'the version' };

/** `--output FILE`, as it is typed. */
export const written = ({ name, value }: Option): string => (value === undefined ? `--${name}` : `--${name} ${value}`);
