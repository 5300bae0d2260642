// Which source address the next connection of a tenant gets.
import { isIPv6 } from 'node:net';

/** A value for `localAddress`: the addresses of the list take turns, those of each family for themselves. */
export function sourceOf(addresses) {
  const families = { 4: addresses.filter((address) => !isIPv6(address)), 6: addresses.filter(isIPv6) };
  const turns = { 4: 0, 6: 0 };
  return ({ family }) => {
    const list = families[family];
    return list[turns[family]++ % list.length];
  };
}
