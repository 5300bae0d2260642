// A TCP socket made ready for Node to connect, and what is checked after the connect.
#ifndef CONNECTX_TCP_PREPARE_H
#define CONNECTX_TCP_PREPARE_H

#include <cstddef>
#include <cstdint>
#include <optional>

#include "address.h"
#include "netlink/namespace_sockets.h"
#include "os.h"
#include "socket_options.h"

namespace connectx {

struct TcpPlan {
  int family = AF_INET;
  // Absent: the kernel chooses the source address by routing.
  std::optional<Address> source;
  // Non-zero: bind this port explicitly. Zero: the kernel assigns one at connect(2).
  uint16_t port = 0;
  // Bounds for the port that the kernel assigns (IP_LOCAL_PORT_RANGE); both zero: leave the option alone.
  uint16_t low = 0;
  uint16_t high = 0;
  bool fast_open = false;
  SocketOptions options;
  // The descriptor that the socket takes the place of; -1: it gets one of its own.
  int over = -1;
};

// socket(2), its options, and bind(2) where the plan asks for one. On success value is the descriptor, owned by the
// caller; on failure nothing is left open, and what the plan's descriptor was it still is.
Result TcpPrepare(const TcpPlan& plan);

// The same, of a plan without bounds, for a socket that is to get one port. Where `port` lies in the ephemeral range
// the kernel will assign it at connect(2), and it stays free for all other destinations; elsewhere the socket is not
// bound. value is the descriptor; `assigned`: whether the kernel will assign the port. Afterwards `sockets` are known
// to be of the thread's network namespace.
Result TcpPin(NamespaceSockets* sockets, TcpPlan plan, uint16_t port, bool* assigned);

// Reads net.ipv4.ip_local_port_range, "32768\t60999\n": whether `port` lies in it.
bool IsInRange(const char* text, size_t length, uint16_t port);

// What TcpCheck found. JavaScript reads the numbers.
enum class TcpVerdict : int {
  kAsAsked = 0,
  kSelfConnected = 1,
  kOtherAddress = 2,
  kOtherPort = 3,
  // As asked, but for the destination: a BPF program on the cgroup has rewritten it.
  kRewritten = 4,
  // As asked, but for the destination, of which nobody knows: the socket is closed again.
  kPeerUnknown = 5,
};

// After connect(2) has returned, and so after the local end is settled: is it what was asked for, and not the remote
// end itself, by whatever name? value is a TcpVerdict, `port` the local port. Whether the destination was rewritten is
// asked only with `peer`.
Result TcpCheck(NamespaceSockets* sockets, int fd, const std::optional<Address>& source, uint16_t low, uint16_t high,
                const Address& remote, bool peer, uint16_t* port);

// Which socket options this kernel knows; a bit set.
enum TcpFeature : int {
  kBindAddressNoPort = 1,
  kLocalPortRange = 2,
  kFastOpenConnect = 4,
};
Result TcpFeatures();

}  // namespace connectx

#endif  // CONNECTX_TCP_PREPARE_H
