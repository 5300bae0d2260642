// All sockets that a filter lets through, over sock_diag(7), one after the other: the kernel writes as much as one read
// takes, and nothing is kept here, however many there are.
#ifndef CONNECTX_NETLINK_DIAG_DUMP_H
#define CONNECTX_NETLINK_DIAG_DUMP_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "address.h"
#include "os.h"

namespace connectx {

// An IP address without a port, the way sockets are compared: what an AF_INET6 socket calls ::ffff:a.b.c.d is a.b.c.d,
// for the two share their ports.
struct Ip {
  int family = 0;
  std::array<uint8_t, 16> bytes = {};  // an IPv4 address takes the first four

  bool IsWildcard() const;
  bool IsLinkLocal() const;
  bool operator==(const Ip& other) const { return family == other.family && bytes == other.bytes; }
};

Ip IpOf(const Address& address);
// Back: in a socket of AF_INET6 an IPv4 address is IPv4-mapped. Without a zone.
Address AddressOf(const Ip& ip, uint16_t port, int family);

// Bits of include/net/tcp_states.h.
constexpr uint32_t StateBit(int state) { return 1U << state; }
constexpr uint8_t kSynSent = 2;
constexpr uint8_t kTimeWait = 6;
// Those that hold a 4-tuple. Without SYN-RECV's TCP_NEW_SYN_RECV (12), which is no socket yet.
constexpr uint32_t kConnectedStates = StateBit(1) | StateBit(2) | StateBit(3) | StateBit(4) | StateBit(5) |
                                      StateBit(kTimeWait) | StateBit(8) | StateBit(9) | StateBit(11);
// Those that hold a port and no 4-tuple: TCP_LISTEN, TCP_CLOSE for UDP, and TCP_BOUND_INACTIVE (13, Linux 6.8; older
// kernels do not show TCP sockets that are only bound, and take no notice of the bit).
constexpr uint32_t kHolderStates = StateBit(7) | StateBit(10) | StateBit(13);

struct DumpQuestion {
  uint8_t protocol = 0;  // IPPROTO_TCP or IPPROTO_UDP
  uint32_t states = 0;
  std::optional<Ip> local;
  std::optional<Ip> remote;
  int remote_port = -1;  // any
  // Local ports.
  uint16_t low = 0;
  uint16_t high = 65535;
  // Only sockets that are bound to a device.
  bool on_device = false;
  // Only sockets of this family; 0: of both, as far as they can have these addresses.
  int only_family = 0;
};

struct DumpedSocket {
  uint8_t state = 0;
  Ip local;
  Ip remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  uint32_t interface = 0;
  uint32_t uid = 0;
  uint32_t inode = 0;
  uint64_t cookie = 0;  // SO_COOKIE
  bool v6_only = false;
};

class DumpSink {
 public:
  virtual ~DumpSink() = default;
  // What came so far is void: the dump begins again.
  virtual void Restart() = 0;
  virtual void Add(const DumpedSocket& socket) = 0;
};

// The codec, apart from I/O. `family` is that of the sockets: AF_INET6 ones are apart, IPv4-mapped or not.
std::vector<uint8_t> EncodeDump(const DumpQuestion& question, int family, uint32_t sequence);
// One buffer of the answer. value is 1 when the dump is over; `interrupted` is set (and never cleared) when the kernel
// says that the table changed in a way that makes the dump worthless (NLM_F_DUMP_INTR).
Result DecodeDump(const uint8_t* bytes, size_t length, uint32_t sequence, DumpSink* sink, bool* interrupted);

// For a socket of OpenNetlink(NETLINK_SOCK_DIAG, 0), of which the network namespace is the one that answers, whatever
// thread this runs on. Interrupted dumps are repeated; after some of them in a row the error is EINTR.
Result DumpSockets(int fd, const DumpQuestion& question, DumpSink* sink);

}  // namespace connectx

#endif  // CONNECTX_NETLINK_DIAG_DUMP_H
