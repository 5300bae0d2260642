// A DNS server of a test: it knows a few names, and keeps silent about others as servers do that are down.
import type * as dgram from 'node:dgram';
import { isIPv4, isIPv6 } from 'node:net';
import { udpServer } from './udp.js';

const TYPE_A = 1;
const TYPE_AAAA = 28;
const NXDOMAIN = 3;

/** The labels of the question, and where it ends. */
function questionOf(message: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.'), type: message.readUInt16BE(at + 1), end: at + 5 };
}

const record = (type: number, address: string): Buffer => {
  // A pointer to the name of the question, class IN, a TTL of 0.
  const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, type === TYPE_A ? 4 : 16]);
  const text = type === TYPE_A ? address.split('.').map(Number) : [...Buffer.from(expanded(address), 'hex')];
  return Buffer.concat([head, Buffer.from(text)]);
};

function expanded(address: string): string {
  const [left = '', right] = address.split('::');
  const groups = (half: string) => half.split(':').filter(Boolean);
  const [first, last] = [groups(left), groups(right ?? '')];
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => '0');
  return [...first, ...zeros, ...last].map((group) => group.padStart(4, '0')).join('');
}

/**
 * Listens at `host`, port `port`. `names`: the addresses of each name; a name with `undefined` is never answered, and one that
 * is not there does not exist. Resolves with how often each name was asked for.
 */
export async function nameServer(
  host: string,
  port: number,
  names: Record<string, readonly string[] | undefined>,
): Promise<{ asked: Map<string, number>; server: dgram.Socket }> {
  const asked = new Map<string, number>();
  const server = await udpServer(port, host);
  server.on('message', (message, client) => {
    const { name, type, end } = questionOf(message);
    asked.set(name, (asked.get(name) ?? 0) + 1);
    if (name in names && names[name] === undefined) return;
    const ofType = type === TYPE_A ? isIPv4 : type === TYPE_AAAA ? isIPv6 : () => false;
    const records = (names[name] ?? []).filter(ofType).map((address) => record(type, address));
    const head = Buffer.from(message.subarray(0, end));
    head.writeUInt16BE(0x8180 | (name in names ? 0 : NXDOMAIN), 2);
    head.writeUInt16BE(records.length, 6);
    head.writeUInt32BE(0, 8);
    server.send(Buffer.concat([head, ...records]), client.port, client.address);
  });
  return { asked, server };
}
