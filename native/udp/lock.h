// The critical section of a connected UDP socket that shares its local port, and nothing else: no JavaScript can run,
// throw or be terminated while a port is locked; but for UdpConnectLocked, before which core's own has run.
#ifndef CONNECTX_UDP_LOCK_H
#define CONNECTX_UDP_LOCK_H

#include <cstdint>

#include "address.h"
#include "netlink/namespace_sockets.h"
#include "os.h"
#include "socket_options.h"

namespace connectx {

struct UdpPlan {
  Address source;  // with the port
  Address remote;
  // The interface index that SocketOptions.interface names; 0: none.
  uint32_t interface = 0;
  // False: the port is not to be shared at all, and sock_diag is not asked (where it is not to be had).
  bool shared = true;
  // Try first whether nobody is on this port at all, which is cheaper to find out (see udp_connect.cc).
  bool alone = false;
  // Keep the local 2-tuple locked for as long as the socket lives.
  bool exclusive = false;
  SocketOptions options;
};

// JavaScript reads the numbers.
enum class UdpVerdict : int {
  kConnected = 0,
  // bind(2) said EADDRINUSE: somebody on this port does not share it, for good or just for a moment.
  kPortLocked = 1,
  // A connected socket has this 4-tuple.
  kTupleInUse = 2,
  // Another socket is about to connect from this port, too, or one was just closed: to be tried again.
  kContended = 3,
  // sock_diag does not see our own socket: it cannot answer for UDP here.
  kUnseen = 4,
  // The thread has changed its network namespace since the last call: what was known of ports is void.
  kMoved = 5,
  // Connected, and nobody else was on this port.
  kConnectedAlone = 6,
};

// Connects `target`, which is a UDP socket that is not bound. value is a UdpVerdict; where it does not say connected,
// and on failure too, `target` is an unbound socket again (or closed to all use, when no new one could be opened), and
// no port is locked.
Result UdpConnect(Oracle* oracle, const UdpPlan& plan, int target);

// Connects `target`, which core has bound without SO_REUSEADDR: nobody else was on its port, and it is locked. value is
// a UdpVerdict, kConnectedAlone or kMoved; where it does not say connected, and on failure, the caller closes `target`.
Result UdpConnectLocked(Oracle* oracle, int target, const Address& remote, bool unlock);

// Without a lock, and so only a hint: the state of the socket that would get datagrams of this 4-tuple, 0 when nobody
// would.
Result UdpOwner(Oracle* oracle, const UdpPlan& plan);

// Has the thread changed its network namespace since the last call? value is 1 or 0.
Result UdpMoved(Oracle* oracle);

// Does sock_diag see a UDP socket of ours, and rtnetlink name the interfaces? value is 1, or 0 when the kernel or a
// sandbox refuses; a failure says that it could not be tried.
Result UdpProbe();

}  // namespace connectx

#endif  // CONNECTX_UDP_LOCK_H
