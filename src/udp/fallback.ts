// UDP where there is no addon: an exclusive bind, as dgram makes it.
import type * as dgram from 'node:dgram';
import { constants } from 'node:os';
import { complete } from '../errors/connectx_error';
import { addressNotLocal, type Explanation, portLocked, udpPortsExhausted } from '../connect/explain';
import type { UdpRequest } from './options';

const { errno } = constants;

/**
 * Binds and connects the socket, whose lookup answers at once; `done` hears of the end of it, later.
 *
 * @throws the error of bind(2); then the socket is closed
 */
export function connectFallback<S extends dgram.Socket>(
  socket: S,
  request: UdpRequest,
  done: (error?: Error) => void,
): S {
  bind(socket, request);
  const { address, port } = request.destination;
  socket.connect(port, address, done);
  return socket;
}

function bind(socket: dgram.Socket, { destination, localAddress, source }: UdpRequest): void {
  let failure: NodeJS.ErrnoException | undefined;
  const failed = (error: NodeJS.ErrnoException): void => {
    failure = error;
  };
  socket.once('error', failed);
  const wildcard = destination.family === 6 ? '::' : '0.0.0.0';
  socket.bind({ port: source.port, address: localAddress ?? wildcard, exclusive: true });
  socket.removeListener('error', failed);
  if (failure === undefined) return;
  socket.close();
  const attempt = { destination, localAddress, localPort: source.port };
  complete(failure, attempt, { syscall: 'bind', ...explain(-(failure.errno ?? 0), attempt) });
  throw failure;
}

function explain(
  code: number,
  { localAddress, localPort }: { localAddress: string | null; localPort: number },
): Explanation {
  if (code === errno.EADDRNOTAVAIL) return addressNotLocal(localAddress);
  if (code !== errno.EADDRINUSE) return { reason: undefined, advice: '' };
  return localPort === 0 ? udpPortsExhausted('the ephemeral range') : portLocked(localPort);
}
