// The fullest groups, and what the others come to: a bound on what is shown and kept. Plain data.
import type { PortUsage } from './usage';

/** The groups of one protocol that are not shown, summed. */
export interface RestUsage {
  readonly protocol: 'tcp' | 'udp';
  /** How many they are. */
  readonly groups: number;
  readonly used: number;
  readonly timeWait: number;
  /** Of the fullest of them. */
  readonly ratio: number;
}

export interface Bounded {
  readonly shown: readonly PortUsage[];
  /** One for each protocol of which something is left. */
  readonly rest: readonly RestUsage[];
}

/** The first `limit` of these, which are in the order of fullness, and the sum of the others. */
export function fullest(usage: readonly PortUsage[], limit: number | undefined): Bounded {
  if (limit === undefined || usage.length <= limit) return { shown: usage, rest: [] };
  const others = usage.slice(limit);
  const rest = (['tcp', 'udp'] as const).flatMap((protocol) => {
    const sum = { protocol, groups: 0, used: 0, timeWait: 0, ratio: 0 };
    for (const one of others) {
      if (one.protocol !== protocol) continue;
      sum.groups++;
      sum.used += one.used;
      sum.timeWait += one.timeWait;
      sum.ratio = Math.max(sum.ratio, one.ratio);
    }
    return sum.groups === 0 ? [] : [sum];
  });
  return { shown: usage.slice(0, limit), rest };
}
