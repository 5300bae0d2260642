// Core's own end of a connect to one address, whose `oncomplete` it is. There is no other way to get hold of it than to have core
// begin a connect: on a socket whose handle goes nowhere.
import { type IpcSocketConnectOpts, Socket } from 'node:net';
import type { ConnectRequest, Oncomplete } from './core_handle';

let known: Oncomplete | undefined;

export function afterConnect(): Oncomplete {
  known ??= ask();
  return known;
}

function ask(): Oncomplete {
  let answer: Oncomplete | undefined;
  const socket = new Socket();
  const handle = {
    connect(request: ConnectRequest): number {
      answer = request.oncomplete;
      return 0;
    },
  };
  Object.assign(socket, { _handle: handle });
  // A path is connected before connect() returns.
  const options: IpcSocketConnectOpts = { path: '/' };
  Reflect.apply(Socket.prototype.connect, socket, [options]);
  Object.assign(socket, { _handle: null });
  if (answer === undefined) throw new Error('net.Socket no longer connects with oncomplete');
  return answer;
}
