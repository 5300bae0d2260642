// UdpBatch for tests: each is closed after the test, and what it hears is copied out of its memory.
import { UdpBatch } from 'connectx/datagrams';
import { track, until } from './sockets.js';

/** A run as it was received, with the bytes of each of its datagrams. */
export interface HeardRun {
  socket: number;
  peer: number;
  segmentSize: number;
  datagrams: Buffer[];
}

export type Options = ConstructorParameters<typeof UdpBatch>[0];

export function batch(options?: Options): UdpBatch {
  return track(new UdpBatch(options));
}

/** The runs that are received from now on. */
export function heardBy(io: UdpBatch): HeardRun[] {
  const heard: HeardRun[] = [];
  io.recvStart(({ count, data, offset, length, segmentSize, socket, peer }) => {
    for (let i = 0; i < count; i++) {
      const [from = 0, bytes = 0, size = 0] = [offset[i], length[i], segmentSize[i]];
      const datagrams: Buffer[] = [];
      for (let at = 0; at < bytes; at += size) {
        datagrams.push(Buffer.from(data.subarray(from + at, from + Math.min(at + size, bytes))));
      }
      if (bytes === 0) datagrams.push(Buffer.alloc(0));
      heard.push({ socket: socket[i] ?? 0, peer: peer[i] ?? 0, segmentSize: size, datagrams });
    }
  });
  return heard;
}

export const datagramsOf = (runs: readonly HeardRun[]): Buffer[] => runs.flatMap(({ datagrams }) => datagrams);

/** Waits for so many datagrams; loopback loses none while the receive buffers hold them. */
export async function hear(runs: readonly HeardRun[], count: number): Promise<Buffer[]> {
  await until(
    () => datagramsOf(runs).length >= count,
    () => `${datagramsOf(runs).length} of ${count} datagrams`,
  );
  return datagramsOf(runs);
}
