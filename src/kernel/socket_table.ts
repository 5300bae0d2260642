// The kernel's socket table as values: what the addon makes of a dump, read out of its records. Plain data, no I/O.
import type { Family } from '../values/address';

/** How many local ports are taken from one source towards one destination. */
export interface SocketGroup {
  readonly family: Family;
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Distinct local ports, TIME-WAIT included. */
  readonly used: number;
  readonly timeWait: number;
}

/** A socket that holds a local port and no 4-tuple. */
export interface SocketHolder {
  readonly family: Family;
  readonly localAddress: string;
  readonly localPort: number;
  /** {@link SocketState}: listening, or closed (only bound). */
  readonly state: number;
  /** An AF_INET6 socket that takes no part in IPv4. */
  readonly v6Only: boolean;
  readonly inode: number;
  readonly uid: number;
  /** Address and port, for `socketGroups` to leave out. */
  readonly endpoint: Uint8Array;
}

const TEXT = 64;
const GROUP = 12 + 2 * TEXT;
const ENDPOINT = 19;
const HOLDER = 13 + ENDPOINT + TEXT;

function viewOf(records: Uint8Array, size: number): Buffer {
  if (records.length % size !== 0) throw new RangeError(`${records.length} bytes are not whole records of ${size}`);
  return Buffer.from(records.buffer, records.byteOffset, records.length);
}

function textAt(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at + 1, at + 1 + (bytes[at] ?? 0));
}

// Node runs Linux on little-endian machines, and the addon writes in the byte order of the machine; s390x is the one
// that is not.
const { readUInt32, readUInt16 } =
  new Uint8Array(Uint16Array.of(1).buffer)[0] === 1
    ? {
        readUInt32: (bytes: Buffer, at: number) => bytes.readUInt32LE(at),
        readUInt16: (bytes: Buffer, at: number) => bytes.readUInt16LE(at),
      }
    : {
        readUInt32: (bytes: Buffer, at: number) => bytes.readUInt32BE(at),
        readUInt16: (bytes: Buffer, at: number) => bytes.readUInt16BE(at),
      };

const familyAt = (bytes: Buffer, at: number): Family => (bytes[at] === 4 ? 4 : 6);

/** How many records of groups there are. */
export function groupCount(records: Uint8Array): number {
  return records.length / GROUP;
}

/** The groups of these records from `start` on, `end` excluded: those with the most ports come first. */
export function decodeGroups(records: Uint8Array, start = 0, end = groupCount(records)): SocketGroup[] {
  const bytes = viewOf(records, GROUP);
  const groups: SocketGroup[] = [];
  for (let at = start * GROUP; at < end * GROUP; at += GROUP) {
    groups.push({
      family: familyAt(bytes, at + 10),
      localAddress: textAt(bytes, at + 12),
      remoteAddress: textAt(bytes, at + 12 + TEXT),
      remotePort: readUInt16(bytes, at + 8),
      used: readUInt32(bytes, at),
      timeWait: readUInt32(bytes, at + 4),
    });
  }
  return groups;
}

/** How many records of holders there are. */
export function holderCount(records: Uint8Array): number {
  return records.length / HOLDER;
}

/** The holders of these records from `start` on, `end` excluded. */
export function decodeHolders(records: Uint8Array, start = 0, end = holderCount(records)): SocketHolder[] {
  const bytes = viewOf(records, HOLDER);
  const holders: SocketHolder[] = [];
  for (let at = start * HOLDER; at < end * HOLDER; at += HOLDER) {
    holders.push({
      inode: readUInt32(bytes, at),
      uid: readUInt32(bytes, at + 4),
      localPort: readUInt16(bytes, at + 8),
      family: familyAt(bytes, at + 10),
      state: bytes[at + 11] ?? 0,
      v6Only: bytes[at + 12] === 1,
      endpoint: bytes.subarray(at + 13, at + 13 + ENDPOINT),
      localAddress: textAt(bytes, at + 13 + ENDPOINT),
    });
  }
  return holders;
}
