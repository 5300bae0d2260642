// What a trace (connect/trace.ts) says of a UDP connect.
import { isIP } from 'node:net';
import type { Family } from '../values/address';
import { ConnectxError } from '../errors/connectx_error';
import type { ConnectTrace, TracedTechnique } from '../connect/trace';
import type { Plan } from './options';
import { portCacheOf } from './port_cache';
import { type Ends, peerOf } from './socket';

export type { Ends };

function techniqueOf({ native, exclusive }: Plan): TracedTechnique {
  if (native === undefined) return 'core';
  return exclusive || !portCacheOf(native).shared ? 'exclusive' : 'shared';
}

/** The connect of this trace has led to this socket. */
export function traceConnected(trace: ConnectTrace, plan: Plan, socket: Ends): void {
  const { address, port } = socket.address();
  // dgram has none where it would not have the peer (sendBlockList), and tells of that in the next tick.
  const remote = peerOf(socket);
  const host = remote?.address ?? plan.host;
  trace.source = { address, port };
  trace.destination = { address: host, port: plan.port, family: isIP(host) as Family };
  trace.technique = techniqueOf(plan);
  const { destination, technique } = trace;
  trace.attempts = [{ destination, localAddress: address, technique, reason: undefined }];
}

/** It has failed. */
export function traceFailed(trace: ConnectTrace, plan: Plan, error: unknown): void {
  trace.error = error;
  const failures = error instanceof ConnectxError ? (error.errors ?? [error]) : [];
  trace.attempts = failures.map(({ address = plan.host, port = plan.port, localAddress, reason }) => ({
    destination: { address, port, family: isIP(address) as Family },
    localAddress,
    technique: techniqueOf(plan),
    reason,
  }));
}
