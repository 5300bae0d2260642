// A TCP socket that is to get one port: from the kernel, where the kernel gives that port out.
#ifndef CONNECTX_TCP_PIN_H
#define CONNECTX_TCP_PIN_H

#include <cstdint>

#include "netlink/namespace_sockets.h"
#include "os.h"
#include "tcp/prepare.h"

namespace connectx {

// Like TcpPrepare(), of a plan without bounds. Where `port` lies in the ephemeral range the kernel will assign it at
// connect(2), and it stays free for all other destinations; elsewhere the socket is not bound. value is twice the
// descriptor, and one more where the kernel will assign the port. Afterwards the oracle is known to be of the thread's
// network namespace.
Result TcpPin(Oracle* oracle, TcpPlan plan, uint16_t port);

// Reads net.ipv4.ip_local_port_range, "32768\t60999\n": whether `port` lies in it.
bool IsInRange(const char* text, size_t length, uint16_t port);

}  // namespace connectx

#endif  // CONNECTX_TCP_PIN_H
