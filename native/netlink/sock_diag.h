// One question to the kernel, over sock_diag(7): who owns this 4-tuple?
#ifndef CONNECTX_NETLINK_SOCK_DIAG_H
#define CONNECTX_NETLINK_SOCK_DIAG_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "address.h"
#include "netlink/message.h"
#include "os.h"

namespace connectx {

struct DiagQuery {
  uint8_t protocol = 0;  // IPPROTO_UDP or IPPROTO_TCP
  Address local;
  Address remote;
  // A socket that is bound to a device is found only by its index here; one that is not, by every index and by 0.
  // 0: the link of a link-local end.
  uint32_t interface = 0;
};

struct DiagAnswer {
  bool found = false;
  // TCP_ESTABLISHED (1) for a connected UDP socket, TCP_CLOSE (7) for one that is only bound
  // (include/net/tcp_states.h).
  uint8_t state = 0;
  uint64_t cookie = 0;  // SO_COOKIE
  // The local end of the found socket, and the remote one that it is connected to. An AF_INET question may find an
  // AF_INET6 socket, of which the addresses are IPv4-mapped.
  uint8_t family = 0;
  uint16_t local_port = 0;
  std::array<uint8_t, 16> local_ip = {};
  uint16_t remote_port = 0;
  std::array<uint8_t, 16> remote_ip = {};
  uint32_t interface = 0;
  uint32_t inode = 0;
  uint32_t uid = 0;

  // Connected, and to this remote end: a socket may have been found unconnected and be connected elsewhere by the time
  // the kernel writes the answer.
  bool IsConnectedTo(const Address& remote) const;
  // Bound to this port, and to this address or to every one. False for a socket that an sk_lookup program has named.
  bool IsAt(const Address& local) const;
};

constexpr uint8_t kEstablished = 1;
constexpr uint8_t kClosed = 7;
constexpr uint8_t kListening = 10;

// The codec, apart from I/O so that it can be tested with bytes.
constexpr size_t kDiagQuerySize = 72;  // nlmsghdr and inet_diag_req_v2
std::array<uint8_t, kDiagQuerySize> EncodeDiagQuery(const DiagQuery& query, uint32_t sequence);
// ENOENT alone means "nobody" (found is false, and the Result is ok). Any other errno is the Result's; an answer that
// is none, or one to another question, is EBADMSG.
Result DecodeDiagAnswer(const uint8_t* bytes, size_t length, uint32_t sequence, DiagAnswer* out);

// SOCK_DESTROY for the socket of the query that has this cookie, and no other.
std::array<uint8_t, kDiagQuerySize> EncodeDiagDestroy(const DiagQuery& query, uint64_t cookie, uint32_t sequence);
// value is 1 where the socket was destroyed, 0 where it was gone by then.
Result DecodeDiagDestroyed(const uint8_t* bytes, size_t length, uint32_t sequence);

class SockDiag {
 public:
  Result Ask(const DiagQuery& query, DiagAnswer* out);
  // As many answers as queries: few enough for their answers to fit into what a socket may queue (rmem_default), or it
  // asks one by one.
  Result AskAll(const std::vector<DiagQuery>& queries, std::vector<DiagAnswer>* out);
  // Destroys the socket that an answer to this query was about.
  Result Destroy(const DiagQuery& query, uint64_t cookie);
  // The next question opens a new socket, in the network namespace that the thread is in then.
  void Close() { socket_.Close(); }

 private:
  NetlinkSocket socket_{NETLINK_SOCK_DIAG};
};

// What tells the socket's network namespace from others: SO_NETNS_COOKIE (Linux 5.14), or the inode of the calling
// thread's; 0 where there is neither.
uint64_t NamespaceCookieOf(int fd);
Result CookieOf(int fd, uint64_t* out);

}  // namespace connectx

#endif  // CONNECTX_NETLINK_SOCK_DIAG_H
