// What is kept between calls to ask the kernel about ports and tuples with: sockets and a file, all of them of one
// network namespace. Each environment has its own.
#ifndef CONNECTX_NETLINK_NAMESPACE_SOCKETS_H
#define CONNECTX_NETLINK_NAMESPACE_SOCKETS_H

#include <linux/netlink.h>
#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "netlink/links.h"
#include "netlink/message.h"
#include "netlink/sock_diag.h"
#include "os.h"
#include "socket_options.h"

namespace connectx {

// What it takes to find the sockets that are bound to a device, in ns of the processor, as it was measured last.
class DeviceCosts {
 public:
  // Whether to read the table, instead of so many questions.
  bool PrefersTable(size_t questions) {
    if (questions < kFewQuestions) return false;
    if (table_ <= question_ * questions) return true;
    // There may be fewer sockets by now: it is tried again after a while.
    table_ -= table_ / 32;
    return false;
  }
  void TableTook(uint64_t ns) { table_ = ns; }
  void QuestionsTook(uint64_t ns, size_t count) { question_ = ns / count; }

 private:
  static constexpr size_t kFewQuestions = 8;
  uint64_t table_ = 0;
  uint64_t question_ = 2000;
};

struct NamespaceSockets {
  SockDiag diag;
  // For lists of sockets.
  Fd table;
  DeviceCosts device_costs;
  Links links;
  NetlinkSocket route{NETLINK_ROUTE};
  Fd port_range;  // the sysctl, for TcpPin
  // For the barrier (see udp/lock.cc): sockets that are never bound, one for each family.
  Fd scratch4;
  Fd scratch6;
  std::vector<uint32_t> interfaces;  // scratch space
  // SO_NETNS_COOKIE of the socket that the last question was about; 0: unknown.
  uint64_t namespace_cookie = 0;

  // The next question opens new sockets, in the network namespace that the thread is in then.
  void Close() {
    diag.Close();
    table.Reset();
    links.Close();
    route.Close();
    port_range.Reset();
    scratch4.Reset();
    scratch6.Reset();
  }

  // The device that sockets of this process are born bound to (`ip vrf exec`); 0: none, or it cannot be told.
  uint32_t BornDevice() {
    if (scratch4.get() < 0) {
      const Result opened = os::Socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
      if (!opened.ok()) return 0;
      scratch4 = Fd(opened.value);
    }
    return DeviceOf(scratch4.get());
  }

  // Whether `fd` is of another network namespace than the socket that the last question was about. If so, all is
  // closed.
  bool MovedTo(int fd) {
    const uint64_t before = namespace_cookie;
    namespace_cookie = NamespaceCookieOf(fd);
    if (before == 0 || before == namespace_cookie) return false;
    Close();
    return true;
  }
};

}  // namespace connectx

#endif  // CONNECTX_NETLINK_NAMESPACE_SOCKETS_H
