// Node's permission model: what core would refuse, the addon must not do instead of it.
import * as dgram from 'node:dgram';
import { accessDenied } from '../errors/argument_errors';
import { systemError } from '../errors/connectx_error';
import { AF_INET } from './constants';
import { errnoOf, syscallOf } from './outcome';
import type { Native } from './addon';
import { nativeFor } from './load';

// `--permission-audit` refuses nothing, and releases that have no `--allow-net` do not know of the network; in both of them
// `has('net')` is false. Neither changes while the process runs.
let isUnlimited = false;

/**
 * Why the process may not use the network, an error like core's own; undefined when it may. Permissions can be given up while the
 * process runs (`process.permission.drop('net')`), so it is asked each time.
 */
export function netDenial(native: Native): Error | undefined {
  const { permission } = process as { permission?: NodeJS.Process['permission'] };
  if (permission === undefined || isUnlimited || permission.has('net')) return undefined;
  return coreDenies(native);
}

/** The addon, for a `feature` that uses the network; throws where the process may not. */
export function nativeWithNet(feature: string): Native {
  const native = nativeFor(feature);
  const denial = netDenial(native);
  if (denial !== undefined) throw denial;
  return native;
}

// Only core knows whether it refuses. Of all its ways to the network, adopting a UDP descriptor is the one that is refused at once, and
// that does nothing when it is not.
function coreDenies(native: Native): Error | undefined {
  // First: who hears of it ('udp.socket' of diagnostics_channel) may open sockets, too.
  const socket = dgram.createSocket('udp4');
  const fd = native.udpSocket(AF_INET);
  if (fd < 0) {
    socket.close();
    return systemError(errnoOf(fd), syscallOf(native, fd));
  }
  try {
    socket.bind({ fd, exclusive: true });
  } catch (error) {
    native.close(fd);
    socket.close();
    if ((error as NodeJS.ErrnoException).code !== 'ERR_ACCESS_DENIED') throw error;
    return accessDenied(error);
  }
  socket.close();
  isUnlimited = true;
  return undefined;
}
