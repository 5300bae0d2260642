#include "tcp/port_release.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "address.h"
#include "netlink/sock_diag.h"
#include "tcp/prepare.h"

namespace connectx {
namespace {

constexpr int kTries = 16;

// Binds without SO_REUSEADDR, which fails where anybody is on the port.
Result TryAlone(uint16_t port) {
  Result opened = os::Socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
  if (!opened.ok()) return opened;
  const Fd fd(opened.value);
  Address any;
  Result result = Address::Parse(AF_INET, "0.0.0.0", port, &any);
  return result.ok() ? os::Bind(fd.get(), any.get(), any.length()) : result;
}

// A socket that has this port assigned by the kernel: it is connected to itself, for which nobody needs to listen.
Result OpenAssigned(const char* ip, uint16_t port, Fd* out) {
  TcpPlan plan;
  plan.low = plan.high = port;
  plan.source.emplace();
  Address own;
  Result result = Address::Parse(AF_INET, ip, 0, &*plan.source);
  if (result.ok()) result = Address::Parse(AF_INET, ip, port, &own);
  if (!result.ok()) return result;
  result = TcpPrepare(plan);
  if (!result.ok()) return result;
  Fd fd(result.value);
  // It shall leave nothing in TIME-WAIT.
  const linger reset = {1, 0};
  result = os::Setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (!result.ok()) return result;
  result = os::Connect(fd.get(), own.get(), own.length());
  if (!result.ok() && result.error != EINPROGRESS) return result;
  *out = std::move(fd);
  return Result::Ok();
}

Result BindExplicitly(const char* ip, uint16_t port) {
  TcpPlan plan;
  plan.port = port;
  plan.source.emplace();
  Result result = Address::Parse(AF_INET, ip, port, &*plan.source);
  if (result.ok()) result = TcpPrepare(plan);
  if (!result.ok()) return result;
  const Fd fd(result.value);
  return Result::Ok();
}

// 1 or 0; EADDRNOTAVAIL and EADDRINUSE: this port does not tell.
Result TryPort(uint16_t port) {
  Result result = TryAlone(port);
  if (!result.ok()) return result;
  Fd first;
  result = OpenAssigned("127.0.0.1", port, &first);
  if (result.ok()) result = BindExplicitly("127.0.0.2", port);
  if (!result.ok()) return result;
  Fd second;
  result = OpenAssigned("127.0.0.3", port, &second);
  if (result.error == EADDRNOTAVAIL) return Result::Ok(0);
  return result.ok() ? Result::Ok(1) : result;
}

}  // namespace

Result TcpReturnsPorts(uint16_t low, uint16_t high) {
  // Another one each time, so that processes that ask at the same time are not in each other's way.
  Result opened = os::Socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
  if (!opened.ok()) return opened;
  const Fd fd(opened.value);
  uint64_t cookie = 0;
  Result result = CookieOf(fd.get(), &cookie);
  if (!result.ok()) return result;
  const uint32_t count = static_cast<uint32_t>(high) - low + 1;
  auto state = static_cast<uint32_t>(cookie);
  for (int tries = 0; tries < kTries; tries++) {
    state = (state ^ static_cast<uint32_t>(tries)) * 2654435761U;
    result = TryPort(static_cast<uint16_t>(low + (state >> 8) % count));
    if (result.ok() || (result.error != EADDRNOTAVAIL && result.error != EADDRINUSE)) return result;
  }
  return result;
}

}  // namespace connectx
