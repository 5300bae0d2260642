#include "udp/probe.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "address.h"
#include "netlink/links.h"
#include "netlink/sock_diag.h"
#include "socket_options.h"

namespace connectx {
namespace {

// Bound to some loopback address and a port of our choice: the kernel would choose among ephemeral ports, and of those
// there may be none. value is the descriptor.
Result BindSomewhere(int family, Address* local) {
  uint32_t state = 0;
  for (int tries = 0; tries < 64; tries++) {
    Result opened = os::Socket(family, SOCK_DGRAM, IPPROTO_UDP);
    if (!opened.ok()) return opened;
    Fd fd(opened.value);
    uint64_t cookie = 0;
    Result result = CookieOf(fd.get(), &cookie);
    if (!result.ok()) return result;
    // Another one each time, and in each process: no cookie is given twice.
    state = (state ^ static_cast<uint32_t>(cookie)) * 2654435761U;
    char any[] = "127.255.255.255";
    std::snprintf(any, sizeof any, "127.%u.%u.1", (state >> 8) & 255U, (state >> 16) & 255U);
    const auto port = static_cast<uint16_t>(1024 + (state >> 8) % 64000);
    result = Address::Parse(family, family == AF_INET ? any : "::1", port, local);
    if (result.ok()) result = os::Bind(fd.get(), local->get(), local->length());
    if (result.ok()) {
      // Connected to itself, where that is possible: an sk_lookup program may give what is only bound to somebody else
      // (__udp4_lib_lookup).
      static_cast<void>(os::Connect(fd.get(), local->get(), local->length()));
    }
    if (result.ok()) return Result::Ok(fd.Release());
    // EACCES: below ip_unprivileged_port_start.
    if (result.error != EADDRINUSE && result.error != EACCES) return result;
  }
  return Result::Fail(Syscall::kBind, EADDRINUSE);
}

}  // namespace

Result UdpProbe() {
  for (const int family : {AF_INET, AF_INET6}) {
    Address local;
    Result bound = BindSomewhere(family, &local);
    if (bound.error == EAFNOSUPPORT || bound.error == EADDRNOTAVAIL) continue;
    if (!bound.ok()) return bound;
    Fd fd(bound.value);
    uint64_t cookie = 0;
    Result result = CookieOf(fd.get(), &cookie);
    if (!result.ok()) return result;
    DiagQuery query;
    query.protocol = IPPROTO_UDP;
    query.local = local;
    query.remote = local;
    // It may have been born bound to one.
    query.interface = DeviceOf(fd.get());
    SockDiag diag;
    DiagAnswer answer;
    result = diag.Ask(query, &answer);
    if (result.ok() && (!answer.found || answer.cookie != cookie)) return Result::Ok(0);
    Links links;
    std::vector<uint32_t> interfaces;
    if (result.ok()) result = links.List(&interfaces);
    return result.ok() ? Result::Ok(1) : result;
  }
  return Result::Fail(Syscall::kSocket, EAFNOSUPPORT);
}

}  // namespace connectx
