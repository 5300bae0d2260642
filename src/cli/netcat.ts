// Standard input and output over one pinned 4-tuple, as netcat does over any.
import { isIP, isIPv6 } from 'node:net';
import { connect } from '../tcp/socket';
import { connectUdp } from '../udp/connect';

export interface LocalEnd {
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
}

/** `ADDR`, `ADDR:PORT`, `[ADDR]:PORT` or `:PORT`; undefined for what is none of them. */
export function parseLocal(text: string): LocalEnd | undefined {
  if (isIPv6(text)) return { localAddress: text, localPort: undefined };
  const match = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const address = match[1] ?? match[2] ?? '';
  const localPort = match[3] === undefined ? undefined : Number(match[3]);
  if ((address === '' && localPort === undefined) || (localPort !== undefined && localPort > 65535)) return undefined;
  if (address !== '' && isIP(address) === 0) return undefined;
  return { localAddress: address === '' ? undefined : address, localPort };
}

interface Target extends LocalEnd {
  readonly host: string;
  readonly port: number;
}

/** Resolves when both sides have ended, rejects with the connection's error. */
export function pipeTcp(target: Target, tell: (text: string) => void): Promise<void> {
  const { stdin, stdout } = process;
  return new Promise((resolve, reject) => {
    const socket = connect({ ...target, allowHalfOpen: true });
    socket.on('connect', () => {
      tell(`${socket.localAddress} ${socket.localPort} -> ${socket.remoteAddress} ${socket.remotePort}`);
      stdin.pipe(socket);
    });
    socket.pipe(stdout, { end: false });
    socket.on('end', () => {
      // The other side is done; what comes from here has nobody to answer it.
      stdin.unpipe(socket);
      stdin.pause();
      socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve());
  });
}

/** Each piece of input is a datagram. Resolves when the input has ended and nothing has come for `wait` milliseconds. */
export async function pipeUdp(target: Target, wait: number, tell: (text: string) => void): Promise<void> {
  const { stdin, stdout } = process;
  const socket = await connectUdp(target);
  const { address, port } = socket.address();
  const peer = socket.remoteAddress();
  tell(`${address} ${port} -> ${peer.address} ${peer.port}`);
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const close = () => socket.close();
    socket.on('message', (message) => {
      stdout.write(message);
      timer?.refresh();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve());
    stdin.on('data', (data: Buffer) => socket.send(data));
    stdin.on('end', () => (timer = setTimeout(close, wait)));
  });
}
