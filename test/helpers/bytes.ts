// Bytes for the netlink codec: good ones put together, and spoilt ones.

// Machines that Node runs Linux on are little-endian, and netlink has the byte order of the machine.
export const u8 = (value: number) => Uint8Array.of(value);
export const u16 = (value: number) => Uint8Array.of(value & 255, value >> 8);
export const be16 = (value: number) => Uint8Array.of(value >> 8, value & 255);
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0);
  return bytes;
}
export const zeros = (length: number) => Buffer.alloc(length);
export const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

/** The sequence number of the question that all of these answer, unless they say something else. */
export const SEQUENCE = 0x01020304;

export interface Header {
  type: number;
  sequence?: number;
  flags?: number;
  /** Default: the true one. */
  length?: number;
}

export function message({ type, flags = 0, sequence = SEQUENCE, length }: Header, ...payload: Uint8Array[]): Buffer {
  const body = Buffer.concat(payload);
  return Buffer.concat([u32(length ?? 16 + body.length), u16(type), u16(flags), u32(sequence), u32(0), body]);
}

// linux/netlink.h
export const NLMSG_ERROR = 2;

/** NLMSG_ERROR as the kernel writes it: the errno, negative, and the question's header. */
export function errorMessage(code: number, header: Partial<Header> = {}): Buffer {
  return message({ type: NLMSG_ERROR, ...header }, u32(-code), zeros(16));
}

export function attribute(type: number, data: Uint8Array, length = 4 + data.length): Buffer {
  return Buffer.concat([u16(length), u16(type), data, zeros((4 - (data.length % 4)) % 4)]);
}

export interface Found {
  family?: number;
  state?: number;
  localPort?: number;
  remotePort?: number;
  local?: Uint8Array;
  remote?: Uint8Array;
}

/** inet_diag_msg of linux/inet_diag.h. */
export function diagBody(of: Found): Buffer {
  const { family = 2, state = 1, localPort = 40_000, remotePort = 53, local, remote } = of;
  return Buffer.concat([
    Uint8Array.of(family, state, 0, 0),
    be16(localPort),
    be16(remotePort),
    local ?? Buffer.concat([Uint8Array.of(192, 0, 2, 7), zeros(12)]),
    remote ?? Buffer.concat([Uint8Array.of(192, 0, 2, 53), zeros(12)]),
    u32(3), // idiag_if
    u32(0x11223344), // idiag_cookie, the low half first
    u32(0x55667788),
    u32(0), // idiag_expires
    u32(0), // idiag_rqueue
    u32(0), // idiag_wqueue
    u32(1000), // idiag_uid
    u32(123456), // idiag_inode
  ]);
}

/** Numbers in [0, 1), always the same ones (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const ROUNDS = 100_000;

/** Bytes without sense, and good messages with some of them spoilt, cut off, put together or set to what hurts most. */
export function* mutations(good: readonly Buffer[], random: () => number): Generator<Buffer> {
  const below = (limit: number) => Math.floor(random() * limit);
  const extremes = [0, 1, 15, 16, 0x7f, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];
  const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
  for (let round = 0; round < ROUNDS; round++) {
    if (round % 4 === 0) {
      const bytes = Buffer.from(Array.from({ length: below(200) }, () => below(256)));
      // Else nearly all of them would fail at the first number.
      if (bytes.length >= 16 && random() < 0.9) {
        bytes.writeUInt32LE(below(bytes.length + 2));
        bytes.writeUInt16LE(pick(good).readUInt16LE(4), 4);
        bytes.writeUInt32LE(SEQUENCE, 8);
      }
      yield bytes;
      continue;
    }
    let bytes = Buffer.from(pick(good));
    for (let changes = 1 + below(3); changes > 0 && bytes.length > 0; changes--) {
      const at = below(bytes.length);
      switch (below(5)) {
        case 0:
          bytes[at] = below(256);
          break;
        case 1:
          if (at + 4 <= bytes.length) bytes.writeUInt32LE(pick(extremes), at);
          break;
        case 2:
          if (at + 2 <= bytes.length) bytes.writeUInt16LE(pick(extremes) & 0xffff, at);
          break;
        case 3:
          bytes = bytes.subarray(0, at);
          break;
        default:
          bytes = Buffer.concat([bytes.subarray(0, at), pick(good)]);
      }
    }
    yield bytes;
  }
}
