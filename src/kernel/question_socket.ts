// A socket that is only there for a question, and never Node's.
import type { Native } from './addon';

/**
 * What `question` says of a new UDP socket, which is closed then; the negative outcome of the addon where none could be opened. A worker thread
 * that is terminated in between leaves nothing: the addon remembers the socket. So the question opens no other one by it.
 */
export function askUdpSocket<T>(native: Native, domain: number, question: (fd: number) => T): T | number {
  const fd = native.udpSocket(domain);
  if (fd < 0) return fd;
  try {
    return question(fd);
  } finally {
    native.close(fd);
  }
}
