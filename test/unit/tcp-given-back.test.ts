// The ports that this thread has given back: handles tell when they are closed, and nothing that this does reaches who closes them.
import { beforeEach, expect, test } from 'vitest';
import type { TcpHandle } from '../../src/tcp/core_handle';
import { givenBackCount, givenBackSince, watchCloses } from '../../src/tcp/given_back';

class Handle {
  fd = 3;
  closed = false;
  constructor(private readonly name: (end: { address?: string; port?: number }) => number) {}
  getsockname(end: { address?: string; port?: number }): number {
    return this.name(end);
  }
  close(): void {
    this.closed = true;
  }
}

const close = (name: (end: { address?: string; port?: number }) => number): Handle => {
  const handle = new Handle(name);
  handle.close();
  return handle;
};

beforeEach(() => {
  expect(watchCloses(new Handle(() => 0) as unknown as TcpHandle, performance.now())).toBe(true);
});

test('a port that is given back is told', () => {
  const seen = givenBackCount();
  close((end) => {
    Object.assign(end, { address: '192.0.2.7', port: 40000 });
    return 0;
  });
  expect(givenBackSince(seen)).toMatchObject([{ address: '192.0.2.7', port: 40000 }]);
});

test('a handle whose name cannot be written, because its interface is gone, is closed; what was given back is not known then', () => {
  const seen = givenBackCount();
  const handle = close(() => {
    throw Object.assign(new Error('ENXIO: no such device or address, uv_if_indextoiid'), { code: 'ENXIO' });
  });
  expect(handle.closed).toBe(true);
  expect(givenBackSince(seen)).toBeUndefined();
});
