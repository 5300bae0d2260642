// UDP where there is no addon: an exclusive bind, as dgram makes it.
import type * as dgram from 'node:dgram';
import { constants } from 'node:os';
import { complete } from '../errors/connectx_error';
import { addressNotLocal, type Explanation, portLocked, udpPortsExhausted } from '../connect/explain';
import type { UdpRequest } from './options';

const { errno } = constants;

/**
 * Binds and connects a socket, whose lookup answers at once; `done` hears of the end of it, later.
 *
 * @throws the error of bind(2); then no socket is open
 */
export function connectFallback<S extends dgram.Socket>(
  create: () => S,
  request: UdpRequest,
  done: (error?: Error) => void,
): S {
  const { address, port } = request.destination;
  let socket = bound(create(), request);
  if (request.source.port === 0 && socket.address().port === port) {
    // It might connect to itself. While it has the port, the next one gets another.
    const withOwnPort = socket;
    try {
      socket = bound(create(), request);
    } finally {
      withOwnPort.close();
    }
  }
  socket.connect(port, address, done);
  return socket;
}

function bound<S extends dgram.Socket>(socket: S, { destination, localAddress, source }: UdpRequest): S {
  let failure: NodeJS.ErrnoException | undefined;
  const failed = (error: NodeJS.ErrnoException): void => {
    failure = error;
  };
  socket.once('error', failed);
  const wildcard = destination.family === 6 ? '::' : '0.0.0.0';
  socket.bind({ port: source.port, address: localAddress ?? wildcard, exclusive: true });
  socket.removeListener('error', failed);
  if (failure === undefined) return socket;
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
