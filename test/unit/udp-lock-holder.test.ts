// Is whoever holds a port about to connect, or does it not share the port?
import { describe, expect, test } from 'vitest';
import { LockHolder } from '../../src/udp/lock_holder';

describe('the holder of a locked port', () => {
  test('is waited for for 250 ms', () => {
    const holder = new LockHolder();
    expect(holder.mayLetGo(1n, 1000)).toBe(true);
    expect(holder.mayLetGo(1n, 1249)).toBe(true);
    expect(holder.mayLetGo(1n, 1250)).toBe(false);
    // And known from then on.
    expect(holder.mayLetGo(1n, 9000)).toBe(false);
  });

  test('another one is another one', () => {
    const holder = new LockHolder();
    expect(holder.mayLetGo(1n, 1000)).toBe(true);
    expect(holder.mayLetGo(2n, 9000)).toBe(true);
    expect(holder.mayLetGo(2n, 9249)).toBe(true);
    expect(holder.mayLetGo(2n, 9250)).toBe(false);
  });

  test('that has gone leaves a port to be tried again', () => {
    const holder = new LockHolder();
    expect(holder.mayLetGo(1n, 1000)).toBe(true);
    expect(holder.mayLetGo(undefined, 2000)).toBe(true);
    expect(holder.mayLetGo(2n, 9000)).toBe(true);
  });

  test('that is connected already, and is not to be seen, is waited for as well', () => {
    const holder = new LockHolder();
    expect(holder.mayLetGo(undefined, 1000)).toBe(true);
    expect(holder.mayLetGo(undefined, 1249)).toBe(true);
    expect(holder.mayLetGo(undefined, 1250)).toBe(false);
    expect(holder.mayLetGo(undefined, 9000)).toBe(false);
  });
});
