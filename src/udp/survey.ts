// A look at the kernel's table of UDP sockets: who has the ports towards one destination? Off the event loop, where the caller can wait.
import { performance } from 'node:perf_hooks';
import { ask, type Work } from '../connect/steps';
import type { PortsQuestion } from '../kernel/addon';
import { SocketState } from '../kernel/constants';
import { udpSocketCount } from '../kernel/sockstat';
import { parseAddress } from '../values/address';
import type { PortBits } from '../values/port_bits';
import { ALL_PORTS, type PortRange } from '../values/port_range';
import { clearTimeout, setTimeout } from '../values/timers';
import type { UdpAttempt } from './attempt';
import { STUCK_MS } from './looks';
import type { DestinationPorts } from './ports';

// A program may have replaced the clock (tests do).
const now = performance.now.bind(performance);

const IPPROTO_UDP = 17;

/** Beyond so many ports one look costs less than a question for each. */
const WORTH_A_LOOK = 256;

/** None of it is on the event loop: who can wait asks for so many before, in vain. */
export const WORTH_A_WAIT = 64;

/** So many ports are listed by two threads. */
const WORTH_TWO_THREADS = 2048;

/** A question takes as long as a look takes for so many sockets that are others', or for five that are listed. */
const SOCKETS_A_QUESTION = 16;

/**
 * `known`: what others have is known by it. `not yet`: more questions are to be asked first. `no`: questions take less time, or say more.
 * `later`: looks have had their share for now.
 */
export type Looked = 'known' | 'not yet' | 'no' | 'later';

/** Reads the kernel's table. `asked`: so many ports were asked for in vain before. */
export function* look(attempt: UdpAttempt, ports: DestinationPorts, asked = WORTH_A_LOOK): Work<Looked> {
  const count = ports.takenCount + ports.unknownCount;
  if (count <= WORTH_A_LOOK || !attempt.cache.shared || !isListedAsAnswered(attempt)) return 'no';
  const { native } = attempt;
  const { looks } = ports;
  return yield* ask<Looked>({
    later: async () => {
      const began = now();
      if (looks.isStuck(began)) return 'no';
      if (looks.pause(began) > 0) return 'later';
      const read = async () => resolve(attempt, ports, count);
      const whole = looks.join(read, began, () => native.listingCost());
      return (await within(STUCK_MS, whole)) === true ? 'known' : 'no';
    },
    now: () => {
      if (asked < WORTH_A_LOOK) return 'not yet';
      // Where the sockets are not counted, there may be any number of them.
      const sockets = udpSocketCount(native) ?? Infinity;
      if (sockets > SOCKETS_A_QUESTION * count) return 'no';
      const { released } = ports;
      const [began, before] = [now(), native.listingCost()];
      const listed = native.portsInStateNow(...questionOf(attempt, ALL_PORTS));
      if (typeof listed === 'number') return 'no';
      ports.resolve([listed], released);
      looks.read(true, began, native.listingCost() - before);
      return 'known';
    },
  });
}

// An error is no answer: then questions will tell.
async function resolve(attempt: UdpAttempt, ports: DestinationPorts, count: number): Promise<boolean> {
  const { released } = ports;
  // The kernel takes its time for each socket that it lists, and there is mostly more than one processor.
  const parts = count >= WORTH_TWO_THREADS ? ports.halves() : [ALL_PORTS];
  const lists = await Promise.all(parts.map(async (part) => attempt.native.portsInState(...questionOf(attempt, part))));
  if (lists.some((list) => typeof list === 'number')) return false;
  ports.resolve(lists as PortBits[], released);
  return true;
}

function questionOf(attempt: UdpAttempt, { low, high }: PortRange): PortsQuestion {
  const { domain, localAddress, remoteAddress } = attempt;
  const { port } = attempt.request.destination;
  return [IPPROTO_UDP, SocketState.established, domain, localAddress, remoteAddress, port, low, high];
}

/** Undefined where it takes longer. */
function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms, undefined);
    void promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
    });
  });
}

// Whether a list of sockets says the same as questions for each of them do: not where a device or a zone tells them apart, nor
// where sockets of both families have the same ends.
function isListedAsAnswered({ request, cache, localAddress, remoteAddress }: UdpAttempt): boolean {
  const { destination, source } = request;
  if (source.extras?.interface !== undefined || cache.device !== 0) return false;
  return [localAddress, remoteAddress].every((text) => {
    const address = parseAddress(text);
    if (address?.family !== destination.family || address.zone !== undefined) return false;
    return destination.family === 4 || address.scope !== 'link-local';
  });
}
