// Does a figure grow, or does it only go up and down? No I/O.
import { median, quantile } from '../../bench/lib/statistics.mjs';

/**
 * The slope through points [x, y]: the median of those between any two of them (Theil and Sen), which no single peak moves. Of very
 * many points every k-th is taken.
 */
export function slope(points) {
  const step = Math.ceil(points.length / 300);
  const some = points.filter((_, index) => index % step === 0);
  const slopes = [];
  for (let one = 0; one < some.length; one++) {
    for (let other = one + 1; other < some.length; other++) {
      const [x1, y1] = some[one];
      const [x2, y2] = some[other];
      if (x2 > x1) slopes.push((y2 - y1) / (x2 - x1));
    }
  }
  return median(slopes);
}

/**
 * The second half of the points: by how much the figure grows along its slope, and the noise around it (half the distance between the
 * 5th and the 95th percentile of what is left without the slope). It is flat where it grows by no more than the noise, or than `floor`,
 * which is what one cannot tell from nothing.
 */
export function judge(points, floor) {
  const half = points.slice(Math.floor(points.length / 2));
  if (half.length < 6) throw new Error(`${half.length} points are too few to tell`);
  const rise = slope(half);
  const [first] = half[0];
  const [last] = half.at(-1);
  const rest = half.map(([x, y]) => y - rise * (x - first));
  const noise = (quantile(rest, 0.95) - quantile(rest, 0.05)) / 2;
  const growth = rise * (last - first);
  return { growth, noise, level: median(half.map(([, y]) => y)), flat: growth <= Math.max(noise, floor) };
}
