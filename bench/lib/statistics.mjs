// Order statistics: what a run on a shared machine can honestly say. No means, which one stall would move.

/** The q-quantile (0 to 1) by linear interpolation; NaN for nothing. */
export function quantile(values, q) {
  if (values.length === 0) return NaN;
  const sorted = Float64Array.from(values).sort();
  const at = (sorted.length - 1) * q;
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}

export const median = (values) => quantile(values, 0.5);

/** The median and the quartiles around it. */
export function summary(values) {
  return { median: median(values), low: quantile(values, 0.25), high: quantile(values, 0.75), count: values.length };
}

/** Between what the median of the population lies with a probability of 95 % (order statistics of a binomial). */
export function confidence(values) {
  const half = 0.98 / Math.sqrt(Math.max(values.length, 1));
  return { low: quantile(values, Math.max(0.5 - half, 0)), high: quantile(values, Math.min(0.5 + half, 1)) };
}

/** The same, and how the distribution ends; as far as there are values enough to tell. */
export function percentiles(values) {
  const { length } = values;
  return {
    ...summary(values),
    p99: length < 100 ? null : quantile(values, 0.99),
    p999: length < 1000 ? null : quantile(values, 0.999),
  };
}

/**
 * Round by round a[i] / b[i]: two that ran side by side share what else the machine was doing. Rounds that one of them sat out
 * (null) are left out.
 */
export function pairedRatio(a, b) {
  const ratios = a.flatMap((value, round) => (value === null || b[round] === null ? [] : [value / b[round]]));
  return { ...summary(ratios), confidence: confidence(ratios) };
}
