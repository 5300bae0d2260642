// Which ports in use a command is about: --protocol, --source, --destination and --port.
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { type Arguments, type Given, integerOf, UsageError, wrong } from './arguments';
import type { PortUsage, UsageFilter } from '../usage/port_usage';
import { parseAddress } from '../values/address';

/** What the kernel is asked for, and which of its answers count. */
export interface Selection {
  readonly filter: UsageFilter;
  includes(usage: PortUsage): boolean;
}

type Matches = (address: string) => boolean;

interface Addresses {
  /** When there is just one, the kernel looks for it. */
  readonly only: string | undefined;
  readonly matches: Matches;
}

const ANY: Addresses = { only: undefined, matches: () => true };

function listed(fill: (list: BlockList) => void): Matches {
  const list = new BlockList();
  fill(list);
  return (address) => {
    const parsed = parseAddress(address);
    return parsed !== undefined && list.check(parsed.ip, parsed.family === 4 ? 'ipv4' : 'ipv6');
  };
}

/** An address or a CIDR block; undefined for what is none. */
function numeric(text: string): Addresses | undefined {
  const [address = '', length, ...more] = text.split('/');
  const parsed = parseAddress(address);
  if (parsed === undefined || more.length > 0) return undefined;
  const { ip, family } = parsed;
  if (length === undefined) return { only: ip, matches: () => true };
  if (!/^\d{1,3}$/.test(length) || Number(length) > (family === 4 ? 32 : 128)) return undefined;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  return { only: undefined, matches: listed((list) => list.addSubnet(ip, Number(length), type)) };
}

async function named(given: Given, name: string): Promise<Addresses> {
  const found = await lookup(name, { all: true }).catch((error: unknown) => {
    throw new Error(`${given.typed} ${name}: ${(error as Error).message}`, { cause: error });
  });
  const matches = listed((list) => {
    for (const { address, family } of found) list.addAddress(address, family === 4 ? 'ipv4' : 'ipv6');
  });
  return { only: undefined, matches };
}

const NAME = /^(?=.{1,253}$)[\p{L}\p{N}_](?:[\p{L}\p{N}_.-]*[\p{L}\p{N}_.])?$/u;
const WHERE = "an address, a CIDR block or a name, with or without a port ('192.0.2.1:443', '[2001:db8::1]:443')";

interface Place {
  readonly address: string;
  readonly port: Given | undefined;
}

/** Takes the port off: of IPv6 it is one only behind brackets. */
function placeOf({ typed, text }: Given): Place {
  if (isIP(text) === 6) return { address: text, port: undefined };
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text) ?? [];
  const address = bracketed ?? plain ?? text;
  return { address, port: port === undefined ? undefined : { typed: `the port of ${typed}`, text: port } };
}

async function destinationOf(given: Given): Promise<Addresses & { port: number | undefined }> {
  const place = placeOf(given);
  const port = place.port && integerOf(place.port, 1, 65535);
  const addresses = numeric(place.address);
  if (addresses !== undefined) return { ...addresses, port };
  // What has only digits and dots, or a colon or slash, was meant to be an address.
  if (!NAME.test(place.address) || /^[\d.]+$/.test(place.address)) throw wrong(given, WHERE);
  return { ...(await named(given, place.address)), port };
}

function sourceOf(given: Given): Addresses {
  const addresses = numeric(given.text);
  if (addresses === undefined) throw wrong(given, 'an address or a CIDR block');
  return addresses;
}

/** @throws UsageError, and an error of the look-up of a name */
export async function selectionOf(args: Arguments): Promise<Selection> {
  const source = args.get('source');
  const destination = args.get('destination');
  const local = source === undefined ? ANY : sourceOf(source);
  const port = args.integer('port', 1, 65535);
  const remote = destination === undefined ? { ...ANY, port: undefined } : await destinationOf(destination);
  if (port !== undefined && remote.port !== undefined && port !== remote.port) {
    throw new UsageError(
      `${args.get('port')?.typed} ${port} and ${destination?.typed} ${destination?.text} exclude each other`,
    );
  }
  return {
    filter: {
      protocol: args.get('protocol')?.text as UsageFilter['protocol'],
      localAddress: local.only,
      remoteAddress: remote.only,
      remotePort: port ?? remote.port,
    },
    includes: ({ localAddress, remoteAddress }) => local.matches(localAddress) && remote.matches(remoteAddress),
  };
}
