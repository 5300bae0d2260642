// UDP where there is no addon: an exclusive bind, as dgram makes it.
import type * as dgram from 'node:dgram';
import type { UdpRequest } from './udp_steps';

/** Binds and connects the socket; `done` hears of the end of it. */
export function connectFallback<S extends dgram.Socket>(
  socket: S,
  { destination, localAddress, source }: UdpRequest,
  done: (error?: Error) => void,
): S {
  const failed = (error: Error): void => {
    done(error);
  };
  socket.once('error', failed);
  const wildcard = destination.family === 6 ? '::' : '0.0.0.0';
  socket.bind({ port: source.port, address: localAddress ?? wildcard, exclusive: true });
  socket.connect(destination.port, destination.address, ((error?: Error) => {
    socket.removeListener('error', failed);
    done(error);
  }) as () => void);
  return socket;
}
