// Connections in TIME-WAIT: how many ports they take, asked of a few ports only, for an error that is being written;
// and the end of one of them.
#ifndef CONNECTX_TCP_TIME_WAIT_H
#define CONNECTX_TCP_TIME_WAIT_H

#include <cstdint>

#include "address.h"
#include "netlink/namespace_sockets.h"
#include "os.h"

namespace connectx {

constexpr int kTimeWaitSamples = 16;

struct PortSpan {
  uint16_t low = 0;
  uint16_t high = 0;
};

// Looks at kTimeWaitSamples ports of the span, evenly spread from `start` on, or at all of them if there are fewer, and
// counts those whose 4-tuple is in TIME-WAIT: value is that number, `looked` how many were looked at.
// `fd` is a socket of the network namespace that is meant. Failure: the kernel did not answer.
Result CountTimeWait(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote, PortSpan span,
                     uint32_t start, int* looked);

// The state of the socket that has this 4-tuple; 0: nobody has it.
Result TupleState(NamespaceSockets* sockets, const Address& local, const Address& remote);

// Ends a connection in TIME-WAIT (SOCK_DESTROY), so that its 4-tuple can be assigned again. value is 1 where that was
// done, 0 where this 4-tuple is not in TIME-WAIT. Failure: the kernel does not do it, or not for this process
// (CAP_NET_ADMIN).
Result EndTimeWait(NamespaceSockets* sockets, const Address& local, const Address& remote);

}  // namespace connectx

#endif  // CONNECTX_TCP_TIME_WAIT_H
