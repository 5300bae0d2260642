// The options of a UdpBatch and its sockets: read once, and validated.
import { isIP } from 'node:net';
import { types } from 'node:util';
import { badPort, invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import type { BatchPlan, BindPlan } from './batch_engine';
import { UdpFlow, type Target } from './batch_socket';
import type { UdpConnectOptions } from './options';

/** Options of {@link UdpBatch}. */
export interface UdpBatchOptions {
  /** How many receive buffers of 64 KiB there are, 1 to 512; all sockets share them. Default 32: 2 MiB. */
  slots?: number | undefined;
  /** About so many datagrams are received in one turn of the event loop, 1 to 65536. Default 512. */
  maxDatagramsPerTurn?: number | undefined;
  /** So many senders that bound sockets have heard are remembered, 1 to 500000; of more, one that was silent for long is forgotten. Default 65536. */
  maxPeers?: number | undefined;
}

/** Options of {@link UdpBatch.bind}. */
export interface UdpBindOptions {
  /** A numeric IP of this machine; `0.0.0.0` and `::` are all of them. */
  host: string;
  /** 0 to 65535; 0: the kernel chooses. */
  port: number;
  /** `SO_RCVBUF`, in bytes. Default: `net.core.rmem_default`. */
  recvBufferSize?: number | undefined;
  /** `SO_SNDBUF`, in bytes. Default: `net.core.wmem_default`. */
  sendBufferSize?: number | undefined;
  /** Several sockets may bind the port, each with this option, and the kernel spreads senders over them (`SO_REUSEPORT`). Default false. */
  reusePort?: boolean | undefined;
}

/** Options of {@link UdpBatch.connect}: those of `connectUdp` that are not only for a dgram.Socket. */
export type UdpFlowOptions = Omit<UdpConnectOptions, 'segmentSize' | 'receiveBlockList' | 'sendBlockList'>;

/** Options of {@link UdpBatch.trySend}. */
export interface UdpSendOptions {
  /** In bytes. Default 0. */
  offset?: number | undefined;
  /** In bytes. Default: up to the end. */
  length?: number | undefined;
  /** In bytes: more than that is sent as datagrams of this size, the last one shorter. Default: one datagram. */
  segmentSize?: number | undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function integer(name: string, value: unknown, low: number, high: number, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value);
  if (!Number.isInteger(value) || value < low || value > high) {
    throw outOfRange(name, `an integer >= ${low} && <= ${high}`, value);
  }
  return value;
}

export function readBatchOptions(options: UdpBatchOptions): BatchPlan {
  if (!isObject(options)) throw invalidType('options', 'of type object', options);
  const { slots, maxDatagramsPerTurn, maxPeers } = options;
  return {
    slots: integer('options.slots', slots, 1, 512, 32),
    datagramsPerTurn: integer('options.maxDatagramsPerTurn', maxDatagramsPerTurn, 1, 65536, 512),
    peers: integer('options.maxPeers', maxPeers, 1, 500_000, 65536),
  };
}

export function readBindOptions(options: UdpBindOptions): BindPlan {
  if (!isObject(options)) throw invalidType('options', 'of type object', options);
  const { host, port, recvBufferSize, sendBufferSize, reusePort } = options;
  if (typeof host !== 'string') throw invalidType('options.host', 'of type string', host);
  if (isIP(host) === 0) throw invalidValue('options.host', host, 'must be a numeric address');
  if (typeof port !== 'number') throw invalidType('options.port', 'of type number', port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw badPort('options.port', port);
  if (reusePort !== undefined && typeof reusePort !== 'boolean') {
    throw invalidType('options.reusePort', 'of type boolean', reusePort);
  }
  return {
    host,
    port,
    recvBufferSize: integer('options.recvBufferSize', recvBufferSize, 0, 0x7fffffff, 0),
    sendBufferSize: integer('options.sendBufferSize', sendBufferSize, 0, 0x7fffffff, 0),
    reusePort: reusePort === true,
  };
}

const ONLY_DGRAM = {
  segmentSize: 'is for connectUdp: give it to trySend',
  receiveBlockList: 'is for a dgram.Socket',
  sendBlockList: 'is for a dgram.Socket',
} as const;

/** Throws for options of connectUdp that a flow cannot honour. */
export function refuseDgramOnly(options: UdpFlowOptions): void {
  if (!isObject(options)) return;
  for (const [name, why] of Object.entries(ONLY_DGRAM)) {
    const value = (options as Record<string, unknown>)[name];
    if (value !== undefined) throw invalidValue(`options.${name}`, value, why);
  }
}

/** The number of a target. */
export function targetOf(target: Target): number {
  if (typeof target === 'number') return target;
  if (target instanceof UdpFlow) return target.target;
  throw invalidType('target', 'of type number or an instance of UdpFlow', target);
}

export interface SendPlan {
  readonly offset: number;
  readonly length: number;
  readonly segmentSize: number;
}

export function readSendOptions(buffer: Uint8Array, options: UdpSendOptions | undefined): SendPlan {
  if (!types.isUint8Array(buffer)) throw invalidType('buffer', 'an instance of Buffer or Uint8Array', buffer);
  const { byteLength } = buffer;
  if (options === undefined) return { offset: 0, length: byteLength, segmentSize: 0 };
  if (!isObject(options)) throw invalidType('options', 'of type object', options);
  const { offset: from, length: bytes, segmentSize } = options;
  const offset = integer('options.offset', from, 0, byteLength, 0);
  return {
    offset,
    length: integer('options.length', bytes, 0, byteLength - offset, byteLength - offset),
    segmentSize: integer('options.segmentSize', segmentSize, 1, 65507, 0),
  };
}
