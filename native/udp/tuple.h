// Who has a UDP 4-tuple? The plan for a connected socket, and what sock_diag(7) says of its 4-tuple.
#ifndef CONNECTX_UDP_TUPLE_H
#define CONNECTX_UDP_TUPLE_H

#include <cstddef>
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
  // Try first whether nobody is on this port at all, which is cheaper to find out (see udp/lock.cc).
  bool alone = false;
  // The port is not the user's: it must not be one that somebody else is bound to without being connected.
  bool automatic = false;
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
  // Connected to another peer than the one that was asked for, as a BPF program on the cgroup has it (the load
  // balancing of Kubernetes services); the 4-tuple with that peer is the socket's alone.
  kConnectedElsewhere = 7,
};

Result Verdict(UdpVerdict verdict);
bool Says(const Result& result, UdpVerdict verdict);

// Source ports to be tried in turn. The memory is the caller's.
struct SourcePorts {
  const uint16_t* ports = nullptr;
  size_t count = 0;  // at least 1
};

// Where connect(2) leads from the source of the plan: what is unspecified is not what the kernel connects.
Address RemoteOf(const UdpPlan& plan);

// What the kernel knows our own socket by.
struct UdpSelf {
  uint64_t cookie = 0;
  uint32_t device = 0;  // that it is bound to; 0: none
};
Result SelfOf(int fd, UdpSelf* out);

// Of a socket that is bound and whose port is locked: value is kConnected when the 4-tuple is ours to connect.
Result UdpInspect(NamespaceSockets* sockets, const UdpPlan& plan, const UdpSelf& self);

// Of a socket that is connected and whose port is locked, after UdpInspect(): is it connected to where it was asked
// for? getpeername(2) may be hooked, sock_diag(7) is not. value is kConnected; or kConnectedElsewhere, with `peer` set;
// or kTupleInUse when somebody else is connected there from the same source; or kUnseen.
Result UdpVerify(NamespaceSockets* sockets, const UdpPlan& plan, const UdpSelf& self, Address* peer);

// Without a lock, and so only a hint: the state of the socket that would get datagrams of this 4-tuple, 0 when nobody
// would.
Result UdpOwner(NamespaceSockets* sockets, const UdpPlan& plan);

// The same for each of these ports. `states` has room for all of them.
Result UdpOwners(NamespaceSockets* sockets, const UdpPlan& plan, const SourcePorts& ports, uint8_t* states);

}  // namespace connectx

#endif  // CONNECTX_UDP_TUPLE_H
