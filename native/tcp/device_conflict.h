// A TCP 4-tuple can be connected twice: once by a socket that is bound to a device and once by one that is not, or by
// two that are bound to different devices. The kernel does not mind, and one of the two dies in silence.
#ifndef CONNECTX_TCP_DEVICE_CONFLICT_H
#define CONNECTX_TCP_DEVICE_CONFLICT_H

#include <cstdint>

#include "address.h"
#include "netlink/namespace_sockets.h"
#include "os.h"

namespace connectx {

// value is 1 when a TCP socket with another device than `interface` (0: none) has the 4-tuple that `fd` is about to
// have, else 0. Failure: the kernel did not answer. `known`: `sockets` are known to be of the network namespace of
// `fd`.
Result HeldWithOtherDevice(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote,
                           uint32_t interface, bool known);

}  // namespace connectx

#endif  // CONNECTX_TCP_DEVICE_CONFLICT_H
