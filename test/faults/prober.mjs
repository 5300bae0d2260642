// Another process, which finds out what a port is good for: { protocol, local, remote, shared } -> undefined or an errno's name.
import * as sys from 'connectx/sys';

const { AF_INET, AF_INET6, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_REUSEADDR, SO_LINGER } = sys.constants;

/** Binds, with SO_REUSEADDR where the port is to be shared, and connects. */
function tryPort({ protocol, local, remote, shared }) {
  const domain = local.address.includes(':') ? AF_INET6 : AF_INET;
  const fd = sys.socket(domain, protocol === 'tcp' ? SOCK_STREAM : SOCK_DGRAM);
  try {
    // No TIME-WAIT stays behind.
    sys.setsockopt(fd, SOL_SOCKET, SO_LINGER, new Uint8Array(new Int32Array([1, 0]).buffer));
    if (shared) sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    sys.bind(fd, local);
    sys.connect(fd, remote);
    return undefined;
  } catch (error) {
    return error.code === 'EINPROGRESS' ? undefined : `${error.syscall} ${error.code}`;
  } finally {
    sys.close(fd);
  }
}

process.on('message', (question) => {
  let answer;
  try {
    answer = tryPort(question);
  } catch (error) {
    answer = String(error);
  }
  process.send({ answer });
});
process.on('disconnect', () => process.exit());
process.send({ ready: true });
