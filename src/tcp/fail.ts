// What becomes of an attempt that has failed: the answer for core, a negative errno, and the reasons beside it.
import { constants } from 'node:os';
import { type Adopter, tryToBind } from './adopt';
import { type Failed, type Failure, failureOf } from '../connect/failure';
import type { Explanation, TimeWait } from '../connect/explain';
import { type RouteQuestion, sourceToBind } from '../connect/route';
import { domainOf } from '../kernel/constants';
import { answerOf, errnoOf, syscallOf } from '../kernel/outcome';
import { ephemeralRange, hasTimestamps } from '../kernel/sysctl';
import type { Source } from '../source/options';

/** An attempt, as far as its failure is concerned. */
export interface Failing extends Adopter {
  readonly source: Source;
  readonly address: string;
  readonly port: number;
  readonly localAddress: string | null;
  failure: Failure | undefined;
}

const { errno } = constants;

const IPPROTO_TCP = 6;

export function questionOf({ address, port, family, source }: Failing): RouteQuestion {
  return { address, family, extras: source.extras, flow: { protocol: IPPROTO_TCP, port, localPort: source.port } };
}

/** `code` is a positive errno. `source`: what was asked for, with the range of the ports that were tried. */
export function fail(
  attempt: Failing,
  code: number,
  syscall: string,
  explanation?: Explanation,
  source = attempt.source,
): number {
  const { native, localAddress } = attempt;
  const failed: Failed = {
    native,
    source,
    localAddress,
    question: questionOf(attempt),
    canBind: (local) => {
      const outcome = tryToBind(attempt, local);
      return outcome >= 0 || errnoOf(outcome) !== errno.EADDRNOTAVAIL;
    },
    timeWait: () => timeWait(attempt, source),
  };
  attempt.failure = failureOf(failed, code, syscall, explanation);
  return -code;
}

/** `outcome` is a negative outcome of the addon. */
export function failWith(attempt: Failing, outcome: number): number {
  return fail(attempt, errnoOf(outcome), syscallOf(attempt.native, outcome) || 'connect');
}

// Of a few ports of those that there were to be had.
function timeWait(attempt: Failing, source: Source): TimeWait | undefined {
  const { native, fd, address, port, family } = attempt;
  const range = source.range ?? ephemeralRange(native);
  const local = attempt.localAddress ?? sourceToBind(native, questionOf(attempt));
  if (range === undefined || typeof local !== 'string' || fd < 0) return undefined;
  const start = Math.floor(Math.random() * 65536);
  const { low, high } = range;
  const counted = native.countTimeWait(fd, domainOf(family), local, address, port, low, high, start);
  if (counted < 0) return undefined;
  return { of: answerOf(native, 'looked'), found: counted, timestamps: hasTimestamps(native) };
}
