// Which techniques are tried, in which order: source options x kernel.
import { describe, expect, test } from 'vitest';
import type { Kernel } from '../../src/kernel/kernel';
import { placeOf, planPorts, type Technique } from '../../src/tcp/port_plan';
import { type PortRange, portsOf, shuffled } from '../../src/values/port_range';
import type { Source } from '../../src/source/options';

const EPHEMERAL: PortRange = { low: 100, high: 109 };
const ANY: PortRange = { low: 1, high: 65535 };

interface KernelCase {
  hasPortRange?: boolean;
  hasNoPort?: boolean;
  ephemeral?: PortRange | undefined;
  reserved?: PortRange[];
  crowded?: boolean;
  searchesRangesByParity?: boolean;
}

function kernel(given: KernelCase): Kernel {
  const { hasPortRange = true, hasNoPort = true, reserved = [], crowded = true } = given;
  const { searchesRangesByParity = false } = given;
  const ephemeral = 'ephemeral' in given ? given.ephemeral : EPHEMERAL;
  return {
    hasPortRange,
    hasNoPort,
    searchesRangesByParity,
    ephemeralRange: () => ephemeral,
    reservedPorts: () => reserved,
    skipsParity: () => crowded,
  };
}

interface SourceCase {
  port?: number;
  range?: PortRange;
  reuseTimeWait?: boolean;
}

function source({ port = 0, range, reuseTimeWait = false }: SourceCase): Source {
  return { address: undefined, port, range, reuseTimeWait, overlap: true, extras: null };
}

/** The plan with its searches carried out, so that it can be compared. */
function plan(of: SourceCase, pinned: boolean, on: KernelCase): unknown[] {
  return planPorts(source(of), pinned, kernel(on)).map((technique: Technique) => {
    const ports = searched(technique);
    return ports === undefined ? technique : { kind: technique.kind, ports };
  });
}

function searched(technique: Technique): number[] | undefined {
  if (technique.kind === 'search') return portsOf(technique.ranges, technique.reserved());
  return technique.kind === 'take-over' ? [...technique.ports()] : undefined;
}

const assign = (range: PortRange | undefined) => ({ kind: 'assign', range });
const pin = (port: number) => ({ kind: 'pin', port });
const bind = (port: number) => ({ kind: 'bind', port });
const search = (...ports: number[]) => ({ kind: 'search', ports });
const upTo = (low: number, high: number) => Array.from({ length: high - low + 1 }, (_, index) => low + index);

const modern: KernelCase = {};
const noRange: KernelCase = { hasPortRange: false };
const noNoPort: KernelCase = { hasNoPort: false };
const neither: KernelCase = { hasPortRange: false, hasNoPort: false };
const noProc: KernelCase = { ephemeral: undefined };
const roomy: KernelCase = { crowded: false };

describe.each([true, false])('the source address is pinned: %s', (pinned) => {
  test.each([
    // Any port.
    { on: modern, of: {}, expected: [assign(ANY)] },
    { on: noRange, of: {}, expected: [assign(undefined)] },
    { on: noProc, of: {}, expected: [assign(ANY)] },
    { on: roomy, of: {}, expected: [assign(undefined)] },
    // One port.
    { on: modern, of: { port: 105 }, expected: [pin(105), bind(105)] },
    { on: modern, of: { port: 99 }, expected: [pin(99), bind(99)] },
    { on: noRange, of: { port: 105 }, expected: [bind(105)] },
    { on: noProc, of: { port: 105 }, expected: [pin(105), bind(105)] },
    // A range of ports: inside, the whole, overlapping at either end or both, and beside the ephemeral one.
    { on: modern, of: { range: { low: 102, high: 104 } }, expected: [assign({ low: 102, high: 104 })] },
    { on: modern, of: { range: EPHEMERAL }, expected: [assign(EPHEMERAL)] },
    {
      on: modern,
      of: { range: { low: 98, high: 101 } },
      expected: [assign({ low: 100, high: 101 }), search(98, 99)],
    },
    {
      on: modern,
      of: { range: { low: 108, high: 111 } },
      expected: [assign({ low: 108, high: 109 }), search(110, 111)],
    },
    { on: modern, of: { range: { low: 99, high: 110 } }, expected: [assign(EPHEMERAL), search(99, 110)] },
    { on: modern, of: { range: { low: 10, high: 12 } }, expected: [search(10, 11, 12)] },
    { on: modern, of: { range: { low: 110, high: 110 } }, expected: [search(110)] },
    // Without the option the kernel may assign only where it cannot assign anything else.
    { on: noRange, of: { range: { low: 102, high: 104 } }, expected: [search(102, 103, 104)] },
    { on: noRange, of: { range: { low: 98, high: 101 } }, expected: [search(98, 99, 100, 101)] },
    { on: noRange, of: { range: EPHEMERAL }, expected: [assign(undefined)] },
    { on: noRange, of: { range: { low: 99, high: 110 } }, expected: [assign(undefined), search(99, 110)] },
    { on: noProc, of: { range: { low: 102, high: 104 } }, expected: [search(102, 103, 104)] },
  ])('$on $of', ({ on, of, expected }) => {
    expect(plan(of, pinned, on)).toEqual(expected);
  });
});

describe('a kernel that searches ranges by parity, too', () => {
  const ephemeral = { low: 32768, high: 60999 };
  const old = { searchesRangesByParity: true, ephemeral };

  test('two windows, somewhere in the range, and then all of it', () => {
    const starts = new Set<number>();
    for (let n = 0; n < 100; n++) {
      const [first, second, ...rest] = planPorts(source({}), true, kernel(old));
      for (const window of [first, second]) {
        const { low, high } = (window as Technique & { kind: 'assign' }).range as PortRange;
        expect(high - low).toBe(511);
        expect(low).toBeGreaterThanOrEqual(ephemeral.low);
        expect(high).toBeLessThanOrEqual(ephemeral.high);
        starts.add(low);
      }
      expect(rest).toEqual([assign(ANY)]);
    }
    expect(starts.size).toBeGreaterThan(100);
  });

  test('none where the range is small, where it has room, and where ports were asked for', () => {
    expect(plan({}, true, { ...old, ephemeral: EPHEMERAL })).toEqual([assign(ANY)]);
    expect(plan({}, true, { ...old, crowded: false })).toEqual([assign(undefined)]);
    expect(plan({ range: { low: 40000, high: 45000 } }, true, old)).toEqual([assign({ low: 40000, high: 45000 })]);
    expect(plan({ port: 40000 }, true, old)).toEqual([pin(40000), bind(40000)]);
  });
});

test('without IP_LOCAL_PORT_RANGE a search begins at the same port each time', () => {
  const searches = (hasPortRange: boolean) =>
    planPorts(source({ range: { low: 97, high: 112 } }), true, kernel({ hasPortRange })).flatMap((technique) =>
      technique.kind === 'search' ? [technique.fromOnePort] : [],
    );
  expect(searches(false)).toEqual([true]);
  expect(searches(true)).toEqual([false]);
  const ports = [10, 20, 30, 40];
  for (const [last, first] of [
    [20, 20],
    [21, 30],
    [40, 40],
    [41, 10],
    [0, 10],
  ] as const) {
    expect(ports[placeOf(ports, last)], `${last}`).toBe(first);
  }
});

describe('reuseTimeWait takes over at the end of the plan, what could be had before', () => {
  const takeOver = (...ports: number[]) => ({ kind: 'take-over', ports });
  const reuseTimeWait = true;
  test.each([
    { of: { reuseTimeWait }, expected: [assign(ANY), takeOver(...upTo(100, 109))] },
    {
      of: { reuseTimeWait, range: { low: 102, high: 103 } },
      expected: [assign({ low: 102, high: 103 }), takeOver(102, 103)],
    },
    {
      of: { reuseTimeWait, range: { low: 99, high: 101 } },
      expected: [assign({ low: 100, high: 101 }), search(99), takeOver(99, 100, 101)],
    },
    // An explicit bind does it by itself.
    { of: { reuseTimeWait, port: 105 }, expected: [pin(105), bind(105)] },
  ])('$of', ({ of, expected }) => {
    expect(plan(of, true, modern)).toEqual(expected);
  });
});

describe('without IP_BIND_ADDRESS_NO_PORT a pinned address cannot be assigned a port at connect', () => {
  test.each([
    { on: noNoPort, of: {}, expected: [search(...upTo(100, 109))] },
    { on: neither, of: {}, expected: [search(...upTo(100, 109))] },
    { on: noNoPort, of: { port: 105 }, expected: [bind(105)] },
    { on: noNoPort, of: { range: { low: 99, high: 101 } }, expected: [search(99, 100, 101)] },
  ])('$on $of', ({ on, of, expected }) => {
    expect(plan(of, true, on)).toEqual(expected);
  });

  test('where /proc cannot be read, the default range of Linux is searched', () => {
    expect(plan({}, true, { hasNoPort: false, ephemeral: undefined })).toEqual([search(...upTo(32768, 60999))]);
  });

  test('a destination-only connection does not need it', () => {
    expect(plan({}, false, noNoPort)).toEqual([assign(ANY)]);
    expect(plan({ port: 105 }, false, noNoPort)).toEqual([pin(105), bind(105)]);
  });
});

test('a search leaves reserved ports alone; an exact port is what was asked for', () => {
  const reserved = [{ low: 98, high: 99 }];
  expect(plan({ range: { low: 97, high: 100 } }, true, { reserved })).toEqual([
    assign({ low: 100, high: 100 }),
    search(97),
  ]);
  expect(plan({ port: 98 }, true, { reserved })).toEqual([pin(98), bind(98)]);
});

test('no plan is empty, none assigns but at its beginning, and together they cover what was asked for, once', () => {
  for (const hasPortRange of [true, false]) {
    for (const pinned of [true, false]) {
      for (let low = 97; low <= 112; low++) {
        for (let high = low; high <= 112; high++) {
          const steps = planPorts(source({ range: { low, high } }), pinned, kernel({ hasPortRange }));
          expect(steps.length).toBeGreaterThan(0);
          const ports = steps.flatMap((step, index) => {
            if (step.kind === 'bind' || step.kind === 'pin') return [step.port];
            if (step.kind !== 'assign') return searched(step) ?? [];
            expect(index).toBe(0);
            const range = step.range ?? EPHEMERAL;
            return upTo(range.low, range.high);
          });
          expect(ports.sort((a, b) => a - b)).toEqual(upTo(low, high));
        }
      }
    }
  }
});

describe('shuffled', () => {
  test('has each port once', () => {
    for (let count = 0; count <= 8; count++) {
      const ports = upTo(1, count);
      expect([...shuffled(ports, Math.random)].sort((a, b) => a - b)).toEqual(ports);
    }
  });

  test('every order is possible', () => {
    const orders = new Set<string>();
    for (let first = 0; first < 3; first++) {
      for (let second = 0; second < 2; second++) {
        const drawn = [(first + 0.5) / 3, (second + 0.5) / 2];
        orders.add(shuffled([10, 20, 30], () => drawn.shift() ?? 0).join());
      }
    }
    expect(orders.size).toBe(6);
  });

  test('the largest random number is still a port', () => {
    expect([...shuffled([10, 20, 30], () => 1 - Number.EPSILON / 2)].sort()).toEqual([10, 20, 30]);
  });
});

test('thousands of reserved ports are left out', () => {
  const reserved = Array.from({ length: 20_000 }, (_, index) => ({ low: 1 + 3 * index, high: 1 + 3 * index }));
  const ports = portsOf([{ low: 1, high: 9 }], reserved);
  expect(ports).toEqual([2, 3, 5, 6, 8, 9]);
});
