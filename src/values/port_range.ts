// Port ranges as values. No I/O, no native code.

/** Both ends inclusive, 1 to 65535, `low <= high`. */
export interface PortRange {
  readonly low: number;
  readonly high: number;
}

/** Every port there is. As a bound for the kernel it means "the whole ephemeral range, scanned without parity". */
export const ALL_PORTS: PortRange = { low: 1, high: 65535 };

export function includesPort(range: PortRange, port: number): boolean {
  return port >= range.low && port <= range.high;
}

/** Undefined when the two have no port in common. */
export function intersect(a: PortRange, b: PortRange): PortRange | undefined {
  const low = Math.max(a.low, b.low);
  const high = Math.min(a.high, b.high);
  return low <= high ? { low, high } : undefined;
}

/** What of `range` lies outside `hole`: none, one or two ranges. */
export function outside(range: PortRange, hole: PortRange): PortRange[] {
  const rest: PortRange[] = [];
  if (range.low < hole.low) rest.push({ low: range.low, high: Math.min(range.high, hole.low - 1) });
  if (range.high > hole.high) rest.push({ low: Math.max(range.low, hole.high + 1), high: range.high });
  return rest;
}

export function formatRange(range: PortRange): string {
  return range.low === range.high ? `${range.low}` : `${range.low}-${range.high}`;
}

/** Reads `net.ipv4.ip_local_port_range`: two numbers and white space. Undefined when that is not what it is. */
export function parseEphemeralRange(text: string): PortRange | undefined {
  const match = /^\s*(\d+)\s+(\d+)\s*$/.exec(text);
  if (match === null) return undefined;
  const low = Number(match[1]);
  const high = Number(match[2]);
  // The kernel accepts 0 as the low end, but never assigns port 0.
  return low <= high && high <= 65535 && high > 0 ? { low: Math.max(low, 1), high } : undefined;
}

const [COMMA, HYPHEN, DIGIT_0, DIGIT_9] = [0x2c, 0x2d, 0x30, 0x39] as const;

/** Reads `net.ipv4.ip_local_reserved_ports`: `8080,9000-9100`, or nothing. */
export function parseReservedPorts(text: string): PortRange[] {
  const ranges: PortRange[] = [];
  eachReserved(text, (low, high) => ranges.push({ low, high }));
  return ranges;
}

/** The same, one range after the other: of thousands of them there need not be as many objects. */
export function eachReserved(text: string, take: (low: number, high: number) => void): void {
  const list = text.trim();
  let low = -1;
  let number = -1;
  let isOdd = false;
  // There may be thousands of entries: digit by digit they take half as long as with an expression for each. Behind the end is no digit.
  for (let at = 0; at <= list.length; at++) {
    const code = list.charCodeAt(at);
    if (code >= DIGIT_0 && code <= DIGIT_9) {
      number = (number < 0 ? 0 : 10 * number) + code - DIGIT_0;
    } else if (code === HYPHEN && low < 0 && number >= 0) {
      low = number;
      number = -1;
    } else if (code === COMMA || at === list.length) {
      if (number >= 0 && !isOdd) take(low < 0 ? number : low, number);
      low = number = -1;
      isOdd = false;
    } else {
      isOdd = true;
    }
  }
}

/** Every port of the ranges that is not reserved, once, in ascending order. */
export function portsOf(ranges: readonly PortRange[], reserved: readonly PortRange[]): number[] {
  // A list of reserved ports may have thousands of entries.
  const isReserved = new Uint8Array(ALL_PORTS.high + 1);
  for (const { low, high } of reserved) isReserved.fill(1, low, high + 1);
  const ports: number[] = [];
  for (const { low, high } of ranges) {
    for (let port = low; port <= high; port++) if (isReserved[port] === 0) ports.push(port);
  }
  return ports;
}

/** The ports in an order that chance has chosen. `random` is as `Math.random`. */
export function shuffled(ports: readonly number[], random: () => number): Uint16Array {
  const order = Uint16Array.from(ports);
  for (let left = order.length; left > 1; left--) {
    const at = Math.floor(random() * left);
    const port = order[left - 1] as number;
    order[left - 1] = order[at] as number;
    order[at] = port;
  }
  return order;
}
