// Addresses and blocks as one set.
import { BlockList } from 'node:net';
import { expect, test } from 'vitest';
import { AddressSet } from '../../src/values/address_set';

const setOf = (...blocks: string[]) => {
  const set = new AddressSet();
  for (const block of blocks) set.add('blocks', block);
  return set;
};

test('addresses and blocks of both families', () => {
  const set = setOf('192.0.2.7', ' 10.0.0.0/8 ', '2001:db8::/64', '2001:db8:1::1');
  for (const address of ['192.0.2.7', '10.255.0.1', '2001:db8::ffff', '2001:DB8:1:0::1', '::ffff:192.0.2.7']) {
    expect([address, set.has(address)]).toEqual([address, true]);
  }
  for (const address of ['192.0.2.8', '11.0.0.1', '2001:db8:0:1::', '::1', 'nonsense', '']) {
    expect([address, set.has(address)]).toEqual([address, false]);
  }
});

test('all of one family is nothing of the other', () => {
  // The control: one list for both has it otherwise.
  const list = new BlockList();
  list.addSubnet('::', 0, 'ipv6');
  expect(list.check('192.0.2.7', 'ipv4')).toBe(true);
  expect([setOf('::/0').has('192.0.2.7'), setOf('::/0').has('2001:db8::1')]).toEqual([false, true]);
  expect([setOf('0.0.0.0/0').has('192.0.2.7'), setOf('0.0.0.0/0').has('2001:db8::1')]).toEqual([true, false]);
});

test.each([
  [7, 'ERR_INVALID_ARG_TYPE'],
  ['nonsense', 'ERR_INVALID_ARG_VALUE'],
  ['', 'ERR_INVALID_ARG_VALUE'],
  ['127.0.0.1/33', 'ERR_INVALID_ARG_VALUE'],
  ['127.0.0.1/', 'ERR_INVALID_ARG_VALUE'],
  ['fe80::1%lo', 'ERR_INVALID_ARG_VALUE'],
  ['::/129', 'ERR_INVALID_ARG_VALUE'],
])('%o is refused with %s', (text, code) => {
  expect(() => setOf(text as string)).toThrow(expect.objectContaining({ code }));
});
