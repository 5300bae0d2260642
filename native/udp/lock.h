// The critical section of a connected UDP socket that shares its local port, and nothing else: no JavaScript can run,
// throw or be terminated while a port is locked; but for UdpSettle, before which core's own has run.
#ifndef CONNECTX_UDP_LOCK_H
#define CONNECTX_UDP_LOCK_H

#include <cstddef>
#include <cstdint>

#include "address.h"
#include "netlink/namespace_sockets.h"
#include "os.h"
#include "udp/tuple.h"

namespace connectx {

// Connects `target`, which is a UDP socket that is not bound. value is a UdpVerdict; where it does not say connected,
// and on failure too, `target` is an unbound socket again (or closed to all use, when no new one could be opened), and
// no port is locked. Afterwards `peer` is the true peer of a connected socket.
Result UdpConnect(NamespaceSockets* sockets, const UdpPlan& plan, int target, Address* peer);

// Of `target`, which core has bound without SO_REUSEADDR, so that nobody else was on its port and it was locked, and
// has connected. `unlock`: the port is to be shared from now on. value is a UdpVerdict, kConnectedAlone or kMoved;
// where it does not say connected, and on failure, the caller closes `target`.
Result UdpSettle(NamespaceSockets* sockets, int target, bool unlock);

// UdpConnect() with port after port, in turn, as long as they are locked: value is the last UdpVerdict, `place` that of
// its port.
Result UdpConnectFirst(NamespaceSockets* sockets, const UdpPlan& plan, const SourcePorts& ports, int target,
                       Address* peer, size_t* place);

// Has the thread changed its network namespace since the last call? value is 1 or 0.
Result UdpMoved(NamespaceSockets* sockets);

}  // namespace connectx

#endif  // CONNECTX_UDP_LOCK_H
