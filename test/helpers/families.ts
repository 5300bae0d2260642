// The same cast for both families: one source, another one, and destinations that all lead to this machine.
import type { Network } from './netns.js';

export interface Cast {
  family: 'IPv4' | 'IPv6';
  version: 4 | 6;
  /** The wildcard address. */
  any: string;
  source: string;
  /** Another source. */
  source2: string;
  /** The destinations. */
  remote: string;
  remote2: string;
  remote3: string;
}

export const families: readonly Cast[] = [
  {
    family: 'IPv4',
    version: 4,
    any: '0.0.0.0',
    source: '127.0.0.1',
    source2: '127.0.0.14',
    remote: '127.0.0.2',
    remote2: '127.0.0.3',
    remote3: '127.0.0.4',
  },
  {
    family: 'IPv6',
    version: 6,
    any: '::',
    source: '2001:db8::1',
    source2: '2001:db8::14',
    remote: '2001:db8::2',
    remote2: '2001:db8::3',
    remote3: '2001:db8::4',
  },
];

/** The ephemeral range of {@link smallNetwork}. */
export const RANGE = [20000, 20003] as const;
export const PORTS = [20000, 20001, 20002, 20003];

/** 4 ephemeral ports, and every address of {@link families}. */
export const smallNetwork: Network = {
  range: RANGE,
  addresses: families.flatMap(({ version, source, source2, remote, remote2, remote3 }) =>
    version === 6 ? [source, source2, remote, remote2, remote3] : [],
  ),
};

/** Where the servers of the tests listen. */
export const SERVER = 5353;
