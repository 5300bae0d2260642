// Are ports taken because of TIME-WAIT? Asked of a few ports only, for an error that is being written.
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
// counts those whose 4-tuple is in TIME-WAIT: value is that number, and above 16 bits of it how many were looked at.
// `fd` is a socket of the network namespace that is meant. Failure: the kernel did not answer.
Result CountTimeWait(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote, PortSpan span,
                     uint32_t start);

}  // namespace connectx

#endif  // CONNECTX_TCP_TIME_WAIT_H
