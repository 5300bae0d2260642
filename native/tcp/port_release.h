// A port that a socket has bound explicitly is withheld from the ports that the kernel assigns. Until when?
#ifndef CONNECTX_TCP_PORT_RELEASE_H
#define CONNECTX_TCP_PORT_RELEASE_H

#include <cstdint>

#include "os.h"

namespace connectx {

// Tries it out on loopback, with a port from `low` to `high`, the ephemeral range, that nobody is on: value is 1 where
// the kernel assigns it again as soon as that socket is closed (Linux 6.18), 0 where it does so only when every socket
// on the port is closed. Failure: it cannot be told, for want of IP_LOCAL_PORT_RANGE say.
Result TcpReturnsPorts(uint16_t low, uint16_t high);

}  // namespace connectx

#endif  // CONNECTX_TCP_PORT_RELEASE_H
