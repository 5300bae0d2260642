// What each system call of the addon can fail with: what its man page lists and Linux does, but for what only a mistake in the
// caller brings about (EBADF, EFAULT, ENOTSOCK); and EPERM, EACCES and ENOSYS, which seccomp(2) filters and security modules answer.
import { constants } from 'node:os';

const REFUSED = ['EPERM', 'EACCES', 'ENOSYS'];
const MEMORY = ['ENOMEM', 'ENOBUFS'];
const DESCRIPTORS = ['EMFILE', 'ENFILE'];

const OF_CALLS = {
  socket: [...REFUSED, ...MEMORY, ...DESCRIPTORS, 'EAFNOSUPPORT', 'EPROTONOSUPPORT', 'EINVAL', 'ENODEV'],
  close: ['EINTR', 'EIO', 'ENOSPC', 'EDQUOT'],
  setsockopt: [...REFUSED, ...MEMORY, 'ENOPROTOOPT', 'EINVAL', 'ENODEV', 'EOPNOTSUPP', 'EDOM', 'EADDRNOTAVAIL'],
  getsockopt: [...REFUSED, ...MEMORY, 'ENOPROTOOPT', 'EINVAL', 'EOPNOTSUPP'],
  bind: [
    ...REFUSED,
    ...MEMORY,
    'EADDRINUSE',
    'EADDRNOTAVAIL',
    'EAFNOSUPPORT',
    'EINVAL',
    'ENODEV',
    'ENETDOWN',
    'EAGAIN',
  ],
  connect: [
    ...REFUSED,
    ...MEMORY,
    'EADDRNOTAVAIL',
    'EADDRINUSE',
    'EAFNOSUPPORT',
    'EAGAIN',
    'ECONNABORTED',
    'ECONNREFUSED',
    'EHOSTUNREACH',
    'EINVAL',
    'EISCONN',
    'ENETDOWN',
    'ENETUNREACH',
    'ENODEV',
  ],
  getsockname: [...REFUSED, ...MEMORY, 'EINVAL'],
  getpeername: [...REFUSED, ...MEMORY, 'ENOTCONN', 'EINVAL'],
  dup3: [...REFUSED, 'EINTR', 'EBUSY', 'EMFILE'],
  open: [...REFUSED, ...DESCRIPTORS, 'ENOMEM', 'EINTR', 'ENOENT', 'ENOTDIR', 'EIO'],
  read: [...REFUSED, 'ENOMEM', 'EINTR', 'EIO', 'EAGAIN', 'EINVAL'],
  pread: [...REFUSED, 'ENOMEM', 'EINTR', 'EIO', 'EAGAIN', 'EINVAL', 'ENOENT'],
  send: [...REFUSED, ...MEMORY, 'EAGAIN', 'EINTR', 'ECONNREFUSED', 'EMSGSIZE', 'ENETDOWN', 'ENOENT', 'EOPNOTSUPP'],
  recv: [...REFUSED, ...MEMORY, 'EAGAIN', 'EINTR', 'ECONNREFUSED', 'ENETDOWN'],
  recvfrom: [...REFUSED, ...MEMORY, 'EAGAIN', 'EINTR', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETDOWN'],
  sendmsg: [
    ...REFUSED,
    ...MEMORY,
    'EAGAIN',
    'EINTR',
    'ECONNREFUSED',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'ENETDOWN',
    'EMSGSIZE',
    'EINVAL',
    'EIO',
  ],
  recvmmsg: [...REFUSED, ...MEMORY, 'EAGAIN', 'EINTR', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETDOWN'],
  epoll_create1: [...REFUSED, ...DESCRIPTORS, 'ENOMEM'],
  epoll_ctl: [...REFUSED, 'ENOMEM', 'ENOSPC'],
  epoll_wait: [...REFUSED, 'EINTR'],
  // Of a descriptor that is open, fstat(2) tells always: what it can fail with is about paths.
  fstat: [],
  if_nametoindex: [...REFUSED, ...MEMORY, ...DESCRIPTORS, 'ENODEV', 'ENXIO'],
};

const IN_ANSWERS = [
  ...REFUSED,
  ...MEMORY,
  'ENOENT',
  'EINVAL',
  'EBUSY',
  'EAGAIN',
  'EINTR',
  'EOPNOTSUPP',
  'EAFNOSUPPORT',
];
const IN_ROUTES = ['ENETUNREACH', 'EHOSTUNREACH', 'ENODEV'];

/** What may become of an answer over netlink; see test/native/faults.cc. */
const ANSWERS = [
  'empty',
  'cut to the header',
  'cut in half',
  'a byte short',
  'overlong',
  'reordered',
  'twice',
  'zeros',
  'ones',
  'another sequence',
  'another port id',
  'another type',
  'nothing to say',
  'interrupted',
  'too long a message',
  'too short a message',
  'another family',
  'no family',
  'done 0',
  'done 12',
  ...[...IN_ANSWERS, ...IN_ROUTES].map((name) => `error ${constants.errno[name]}`),
  'error 0',
  'error 5000',
];

/** The faults that a call, as it is recorded ("setsockopt 1/2"), can have: `what` is for the addon, `shown` for readers. */
export function faultsOf(call) {
  const [name] = call.split(' ');
  const names = OF_CALLS[name];
  if (names === undefined) throw new Error(`no errno is known for ${call}`);
  const errors = [...new Set(names)].map((shown) => ({ what: String(constants.errno[shown]), shown }));
  const answers = name === 'recv' ? ANSWERS.map((what) => ({ what, shown: shownOf(what) })) : [];
  return [...errors, ...answers];
}

function shownOf(what) {
  const [kind, number] = what.split(' ');
  const name = Object.entries(constants.errno).find(([, value]) => value === Number(number))?.[0];
  return (kind === 'error' || kind === 'done') && name !== undefined ? `${kind} ${name}` : what;
}
