// Why a connect failed, for the error that the caller gets.
import type { FailureDetails } from '../errors/connectx_error';
import { ephemeralRange } from '../kernel/sysctl';
import type { Native } from '../kernel/addon';
import type { Source } from '../source/options';
import { type Circumstances, type Explanation, explain, type TimeWait } from './explain';
import { isNoRoute, isRouteRefused, type RouteQuestion, routeTo } from './route';

/** Why an attempt failed. */
export interface Failure extends FailureDetails {
  /** What a function of the user's has thrown instead of giving a source. */
  readonly thrown?: { readonly error: unknown };
}

/** What is known of an attempt that has failed. */
export interface Failed {
  readonly native: Native;
  readonly source: Source;
  /** Null where the kernel was to choose. */
  readonly localAddress: string | null;
  readonly question: RouteQuestion;
  /** Whether bind(2) takes the source address. Asked only where the errno does not tell. */
  canBind(local: string): boolean;
  /** Asked only where every port is taken. */
  timeWait(): TimeWait | undefined;
}

/** `code` is a positive errno. What is known already, `explanation` says; otherwise the kernel is asked as far as that helps. */
export function failureOf(failed: Failed, code: number, syscall: string, explanation?: Explanation): Failure {
  const { native, source, localAddress } = failed;
  const circumstances: Circumstances = {
    errno: code,
    syscall,
    localAddress,
    source,
    ephemeral: ephemeralRange(native),
    sourceIsUsable: () => isSourceUsable(failed),
    timeWait: () => failed.timeWait(),
  };
  return { errno: code, syscall, ...(explanation ?? explain(circumstances)) };
}

function isSourceUsable(failed: Failed): boolean {
  const { native, localAddress, question } = failed;
  if (localAddress !== null && !failed.canBind(localAddress)) return false;
  const route = routeTo(native, question);
  if (typeof route === 'number') return isRouteRefused(native, route) || !isNoRoute(native, route);
  return localAddress !== null || route.source !== undefined;
}
