// A TCP socket made ready for Node to connect, and what is checked after the connect.
#ifndef CONNECTX_TCP_PREPARE_H
#define CONNECTX_TCP_PREPARE_H

#include <cstdint>
#include <optional>

#include "address.h"
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
};

// socket(2), its options, and bind(2) where the plan asks for one. On success value is the descriptor, owned by the
// caller; on failure nothing is left open.
Result TcpPrepare(const TcpPlan& plan);

// The two halves of it.
Result TcpOpen(const TcpPlan& plan);
Result TcpBind(int fd, const TcpPlan& plan);

// What TcpCheck found. JavaScript reads the numbers.
enum class TcpVerdict : int {
  kAsAsked = 0,
  kSelfConnected = 1,
  kOtherAddress = 2,
  kOtherPort = 3,
};

// After connect(2) has returned, and so after the local end is settled: is it what was asked for, and not the remote
// end itself? value is the local port, with a TcpVerdict above the 16 bits of it.
Result TcpCheck(int fd, const std::optional<Address>& source, uint16_t low, uint16_t high, const Address& remote);

// Which socket options this kernel knows; a bit set.
enum TcpFeature : int {
  kBindAddressNoPort = 1,
  kLocalPortRange = 2,
  kFastOpenConnect = 4,
};
Result TcpFeatures();

}  // namespace connectx

#endif  // CONNECTX_TCP_PREPARE_H
