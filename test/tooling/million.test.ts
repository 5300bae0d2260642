// bench/million: its plan, its sets of 4-tuples, and what it reads.
import { describe, expect, test } from 'vitest';
import { parseKilobytes, parseSlabs, parseSnmp } from '../../bench/million/memory.mjs';
import { destinationOf, mostOf, planFlows, share } from '../../bench/million/plan.mjs';
import { timeOf } from '../../bench/million/report.mjs';
import { splitEndpoint } from '../../bench/million/table.mjs';
import { TupleSet } from '../../bench/million/tuples.mjs';

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe('planFlows', () => {
  const million = planFlows({ flows: 1_000_000, ports: 64_512, descriptors: 20_000 });

  test('a million flows over processes of 20,000 descriptors', () => {
    expect(million.clients).toHaveLength(51);
    expect(sum(million.clients)).toBe(1_000_000);
    expect(Math.max(...million.clients)).toBeLessThanOrEqual(mostOf(20_000));
    expect(million.destinations).toBe(20);
    expect(sum(million.perDestination)).toBe(1_000_000);
    expect(million.fill).toBeCloseTo(0.775, 2);
    expect(million.acceptors).toEqual(Array.from({ length: 20 }, () => 3));
  });

  test('what each destination gets is what the clients ask of it', () => {
    const { clients, destinations, perDestination } = planFlows({ flows: 1009, ports: 200, descriptors: 500 });
    const counted = Array.from({ length: destinations }, () => 0);
    for (const [client, flows] of clients.entries()) {
      for (let index = 0; index < flows; index++) {
        const destination = destinationOf(client, index, destinations);
        counted[destination] = (counted[destination] ?? 0) + 1;
      }
    }
    expect(perDestination).toEqual(counted);
  });

  test('a few flows are shared by two processes and two destinations', () => {
    const { clients, destinations } = planFlows({ flows: 5, ports: 64_512, descriptors: 20_000 });
    expect({ clients, destinations }).toEqual({ clients: [3, 2], destinations: 2 });
  });

  test('too few descriptors', () => {
    expect(() => planFlows({ flows: 5, ports: 100, descriptors: 100 })).toThrow(RangeError);
  });

  test('shares add up', () => {
    expect([0, 1, 2].map((index) => share(11, 3, index))).toEqual([4, 4, 3]);
  });
});

describe('TupleSet', () => {
  test('a 4-tuple is in it once', () => {
    const set = new TupleSet(2);
    expect([set.add(0, 65535), set.add(1, 65535), set.add(1, 1024)]).toEqual([true, true, true]);
    expect([set.add(1, 65535), set.size]).toEqual([false, 3]);
    expect(set.counts()).toEqual([1, 2]);
  });

  test('the set of another process is added, and what both have is counted', () => {
    const [set, other] = [new TupleSet(2), new TupleSet(2)];
    for (const port of [5000, 5001, 5002]) set.add(0, port);
    for (const port of [5002, 5003]) other.add(0, port);
    other.add(1, 5001);
    expect(set.difference(other)).toBe(4);
    expect(set.addAll(new TupleSet(2, other.bytes))).toBe(1);
    expect(set.size).toBe(5);
    expect(set.counts()).toEqual([4, 1]);
    expect(new TupleSet(2, set.bytes).difference(set)).toBe(0);
  });

  test('bytes of another size are none', () => {
    expect(() => new TupleSet(2, new Uint8Array(8192))).toThrow(RangeError);
  });
});

describe('what the kernel and ss say', () => {
  test.each([
    ['192.0.2.7:1024', { host: '192.0.2.7', port: 1024 }],
    ['[2001:db8::7]:65535', { host: '2001:db8::7', port: 65535 }],
  ])('%s', (text, endpoint) => {
    expect(splitEndpoint(text)).toEqual(endpoint);
  });

  test('/proc/meminfo', () => {
    expect(parseKilobytes('MemTotal:       24684116 kB\nHugePages_Total:       0\nActive(anon):   12 kB\n')).toEqual({
      MemTotal: 24_684_116 * 1024,
      'Active(anon)': 12 * 1024,
    });
  });

  test('/proc/slabinfo', () => {
    const text = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
UDP               347256 490428   1344   12    4 : tunables    0    0    0 : slabdata  39326  39326      0
filp                  63     63    192   21    1 : tunables    0    0    0 : slabdata      3      3      0
`;
    expect(parseSlabs(text)).toEqual({ UDP: 39_326 * 4 * 4096, filp: 3 * 4096 });
  });

  test('/proc/net/snmp', () => {
    const text = 'Udp: InDatagrams NoPorts RcvbufErrors\nUdp: 12 0 3\nTcp: RtoMin MaxConn CurrEstab\nTcp: 200 -1 7\n';
    expect(parseSnmp(text)).toEqual({
      Udp: { InDatagrams: 12, NoPorts: 0, RcvbufErrors: 3 },
      Tcp: { RtoMin: 200, MaxConn: -1, CurrEstab: 7 },
    });
  });

  test('a time between two samples', () => {
    const samples = [
      { seconds: 1, done: 100 },
      { seconds: 3, done: 300 },
    ];
    expect([timeOf(samples, 50), timeOf(samples, 200), timeOf(samples, 300)]).toEqual([0.5, 2, 3]);
  });
});
