// Connections in TIME-WAIT that are taken over. A port that is bound explicitly is lost to everybody whom the kernel assigns one, for as
// long as it is in use and for a minute in TIME-WAIT. So the ones that were taken over last are taken over again; and where the process
// may (CAP_NET_ADMIN), the kernel ends the connection in TIME-WAIT and assigns the port, which then is lost to nobody.
import { constants } from 'node:os';
import { ask, TURN, turnIsOver, type Work } from '../connect/steps';
import { domainOf, SocketState } from '../kernel/constants';
import { errnoOf } from '../kernel/outcome';
import { openAndAdopt, pinAndAdopt } from './adopt';
import type { Attempt } from './attempt';
import type { ConnectRequest } from './core_handle';
import { failWith } from './fail';
import { holdUntilClosed } from './lease';
import type { Technique } from './port_plan';
import { hasBit, type PortBits } from '../values/port_bits';
import { RecentMap } from '../values/recent_map';
import type { Source } from '../source/options';
import type { NoPort } from './refuse';
import { costOf } from './refusals';
import { connectPlaced } from './verify';

const { errno } = constants;

const IPPROTO_TCP = 6;

type TakeOver = Extract<Technique, { kind: 'take-over' }>;

/** How long, in ms, the kernel's list of ports in TIME-WAIT is worked through, and how long it is not asked to end one after a refusal. */
const LIFETIME = 1000;
const MOST = 256;

/** Of one source towards one destination. */
interface Pile {
  /** The last one is taken over next. */
  ports: number[];
  until: number;
}

const clock = performance;
const piles = new RecentMap<string, Pile>(MOST);
/** Until then the kernel is not asked to end a connection in TIME-WAIT: it does not, or not for this process. */
let cannotEndUntil = 0;

/** 0: the connect is under way. A negative errno: it has failed. */
export function* takeOver(
  attempt: Attempt,
  request: ConnectRequest,
  source: Source,
  technique: TakeOver,
  local: string,
): Work<number | NoPort> {
  const pile = pileOf(attempt, source, local, attempt.native.tcpNamespace());
  let isListed = false;
  const began = clock.now();
  for (;;) {
    if (turnIsOver()) yield TURN;
    if (clock.now() >= pile.until || (pile.ports.length === 0 && !isListed)) {
      isListed = true;
      yield* list(attempt, technique, local, pile);
    }
    const port = pile.ports.pop();
    if (port === undefined) return { denied: false, cost: costOf(began, 0) };
    const status = takeOne(attempt, request, technique, local, port);
    if (status === 0) holdUntilClosed(attempt.handle, { release: () => giveBack(pile, port) });
    if (status !== 'taken') return status;
  }
}

// Soon it is in TIME-WAIT again, and the next to be taken over.
function giveBack(pile: Pile, port: number): void {
  if (pile.ports.length < 65_536) pile.ports.push(port);
}

// Where sock_diag does not answer, there are none to be taken over.
function* list(attempt: Attempt, technique: TakeOver, local: string, pile: Pile): Work<void> {
  const { native, family, address, port } = attempt;
  const question = [IPPROTO_TCP, SocketState.timeWait, domainOf(family), local, address, port] as const;
  const found = yield* ask<PortBits | number>({
    now: () => native.portsInStateNow(...question),
    later: async () => native.portsInState(...question),
  });
  const waiting = new Set(typeof found === 'number' ? [] : [...technique.ports()].filter((one) => hasBit(found, one)));
  // Those of the pile stay on it, in their order, and above the others: they may have been bound explicitly.
  const own = pile.ports.filter((one) => waiting.delete(one));
  pile.ports = [...inCircle([...waiting], Math.random()), ...own];
  pile.until = clock.now() + LIFETIME;
}

// From a random one on, so that several processes do not take over the same ones.
function inCircle(ports: number[], random: number): number[] {
  const start = Math.floor(random * ports.length);
  return [...ports.slice(start), ...ports.slice(0, start)];
}

function takeOne(
  attempt: Attempt,
  request: ConnectRequest,
  technique: TakeOver,
  local: string,
  port: number,
): number | 'taken' {
  attempt.localPort = port;
  const ended = endTimeWait(attempt, local, port);
  // By now it is not in TIME-WAIT any more: it is free, and the kernel assigns it, or somebody has it.
  if (ended === 0) return 'taken';
  if (ended === 1) {
    const outcome = pinAndAdopt(attempt, local, port);
    if (outcome !== 'elsewhere') {
      if (outcome < 0) return failWith(attempt, outcome);
      const status = connectPlaced(attempt, request, technique);
      if (status !== -errno.EADDRNOTAVAIL || attempt.failure !== undefined) return status;
    }
  }
  const outcome = openAndAdopt(attempt, local, port, undefined);
  if (outcome < 0) return errnoOf(outcome) === errno.EADDRINUSE ? 'taken' : failWith(attempt, outcome);
  const status = connectPlaced(attempt, request, technique);
  return status === -errno.EADDRNOTAVAIL && attempt.failure === undefined ? 'taken' : status;
}

// 1: it was ended. 0: there was none. -1: that cannot be done here.
function endTimeWait({ native, family, address, port: remotePort }: Attempt, local: string, port: number): -1 | 0 | 1 {
  if (clock.now() < cannotEndUntil) return -1;
  const outcome = native.tcpEndTimeWait(domainOf(family), local, port, address, remotePort);
  if (outcome >= 0) return outcome === 1 ? 1 : 0;
  cannotEndUntil = clock.now() + LIFETIME;
  return -1;
}

function pileOf({ address, port, family }: Attempt, source: Source, local: string, namespace: number): Pile {
  const range = source.range === undefined ? '' : `${source.range.low}-${source.range.high}`;
  const key = `${namespace} ${family} ${local} ${address} ${port} ${range}`;
  const pile = piles.get(key) ?? { ports: [], until: 0 };
  piles.set(key, pile);
  return pile;
}
