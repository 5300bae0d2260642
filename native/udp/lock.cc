#include "udp/lock.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace connectx {
namespace {

Result Verdict(UdpVerdict verdict) { return Result::Ok(static_cast<int>(verdict)); }

bool Says(const Result& result, UdpVerdict verdict) { return result.ok() && result.value == static_cast<int>(verdict); }

bool IsConnected(const Result& result) {
  return Says(result, UdpVerdict::kConnected) || Says(result, UdpVerdict::kConnectedAlone);
}

// An IPv4-mapped destination lives in the IPv4 table, which an AF_INET6 question is not answered from (udp_dump_one).
Address Unmapped(const Address& address) {
  if (address.family() != AF_INET6) return address;
  const uint8_t* ip = address.ip();
  if (!IN6_IS_ADDR_V4MAPPED(reinterpret_cast<const in6_addr*>(ip))) return address;
  sockaddr_storage storage = {};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(address.port());
  std::memcpy(&v4->sin_addr, ip + 12, sizeof v4->sin_addr);
  Address result;
  Address::From(storage, sizeof *v4, &result);
  return result;
}

// What sandboxes answer, and kernels that do not have what is asked for.
bool IsRefusal(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
    case EPROTONOSUPPORT:
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
    case EINVAL:
    case ENOSYS:
      return true;
    default:
      return false;
  }
}

// The interfaces whose sockets could overshadow ours. A lookup by index sees sockets that are bound to that device and
// those that are bound to none.
Result Interfaces(Oracle* oracle, const UdpPlan& plan, const Address& remote) {
  if (plan.interface == 0) return oracle->links.Towards(remote, &oracle->interfaces);
  oracle->interfaces.assign(1, plan.interface);
  return Result::Ok();
}

// value is a UdpVerdict: kConnected when the 4-tuple is ours to connect.
Result Inspect(Oracle* oracle, const UdpPlan& plan, uint64_t cookie) {
  DiagQuery query;
  query.protocol = IPPROTO_UDP;
  query.local = Unmapped(plan.source);
  query.remote = Unmapped(plan.remote);
  Result result = Interfaces(oracle, plan, query.remote);
  if (!result.ok()) return result;
  for (uint32_t interface : oracle->interfaces) {
    query.interface = interface;
    DiagAnswer answer;
    result = oracle->diag.Ask(query, &answer);
    if (!result.ok()) return result;
    if (!answer.found) return Verdict(UdpVerdict::kUnseen);
    if (answer.cookie == cookie) continue;
    return Verdict(answer.IsConnectedTo(query.remote) ? UdpVerdict::kTupleInUse : UdpVerdict::kContended);
  }
  return Verdict(UdpVerdict::kConnected);
}

// bind(2) reads the SO_REUSEADDR of the sockets on its port, and then takes its own place among them, under the lock of
// the port's hash chain; setsockopt(2) and the lookup do not take that lock (udp_lib_get_port). So a bind that had read
// SO_REUSEADDR = 1 of our socket may still be about to take its place when we look. Another bind of the same address
// and port, that must fail, returns only after it has had that lock: by then every bind before it has taken its place,
// where the lookup sees it, and every later one finds the port locked.
//
// value is a UdpVerdict: kConnected when the barrier is passed.
Result Barrier(Oracle* oracle, const UdpPlan& plan) {
  const int family = plan.source.family();
  // A link-local address leaves its device on a socket, and the options make a difference to what can be bound.
  const bool special = plan.source.scope() != 0 || plan.options.free_bind || plan.options.transparent;
  Fd once;
  Fd* scratch = special ? &once : family == AF_INET6 ? &oracle->scratch6 : &oracle->scratch4;
  if (scratch->get() < 0) {
    Result opened = os::Socket(family, SOCK_DGRAM, IPPROTO_UDP);
    if (!opened.ok()) return opened;
    *scratch = Fd(opened.value);
    if (special) {
      SocketOptions options;
      options.free_bind = plan.options.free_bind;
      options.transparent = plan.options.transparent;
      Result result = SetOptions(scratch->get(), family, options);
      if (!result.ok()) return result;
    }
  }
  Result result = os::Bind(scratch->get(), plan.source.get(), plan.source.length());
  if (result.error == EADDRINUSE) return Verdict(UdpVerdict::kConnected);
  // Whatever else it says, the port is not locked as it must be.
  scratch->Reset();
  return result.ok() || result.error == EADDRNOTAVAIL ? Verdict(UdpVerdict::kContended) : result;
}

// A bind without SO_REUSEADDR succeeds only where nobody is bound to this address and port, and it keeps everybody out
// from the moment on in which the kernel found that: there is nothing to look up. value is a UdpVerdict.
Result BindAlone(const UdpPlan& plan, int fd, bool* bound) {
  Result result = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 0);
  if (!result.ok()) return result;
  result = os::Bind(fd, plan.source.get(), plan.source.length());
  if (result.error == EADDRINUSE) return Verdict(UdpVerdict::kPortLocked);
  if (!result.ok()) return result;
  *bound = true;
  return Verdict(UdpVerdict::kConnectedAlone);
}

// Both sockets of a 2-tuple need SO_REUSEADDR, at the time of the second one's bind: so a socket without it locks the
// 2-tuple, and one that wants to get in must have it. value is a UdpVerdict.
Result BindShared(Oracle* oracle, const UdpPlan& plan, int fd, bool* bound) {
  Result result = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (!result.ok()) return result;
  result = os::Bind(fd, plan.source.get(), plan.source.length());
  if (result.error == EADDRINUSE) return Verdict(UdpVerdict::kPortLocked);
  if (!result.ok()) return result;
  *bound = true;
  result = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 0);
  uint64_t cookie = 0;
  if (result.ok()) result = CookieOf(fd, &cookie);
  if (!result.ok()) return result;
  result = Barrier(oracle, plan);
  if (!Says(result, UdpVerdict::kConnected)) return result;
  return Inspect(oracle, plan, cookie);
}

// From bind(2) to the unlock. When it fails or the verdict does not say connected, the socket may be bound and locked.
Result Dance(Oracle* oracle, const UdpPlan& plan, int fd, bool* bound) {
  Result result = Verdict(UdpVerdict::kPortLocked);
  if (plan.alone || !plan.shared) result = BindAlone(plan, fd, bound);
  if (plan.shared && Says(result, UdpVerdict::kPortLocked)) result = BindShared(oracle, plan, fd, bound);
  if (!IsConnected(result)) return result;
  Result connected = os::Connect(fd, plan.remote.get(), plan.remote.length());
  if (connected.ok() && plan.shared && !plan.exclusive) {
    connected = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  }
  return connected.ok() ? result : connected;
}

// Datagrams from anyone were queued between bind and connect. The peer's own stay; the rest goes. Fails when that
// cannot be done: who gets the socket would read what strangers wrote.
Result DropStrangers(int fd, const Address& remote) {
  // An error that was waiting on the socket, such as one that an ICMP message brought, is told once.
  int errors = 3;
  for (;;) {
    sockaddr_storage from = {};
    socklen_t length = sizeof from;
    uint8_t byte;
    auto* name = reinterpret_cast<sockaddr*>(&from);
    Result peeked = os::RecvFrom(fd, &byte, sizeof byte, MSG_PEEK, name, &length);
    if (peeked.error == EAGAIN) return Result::Ok();
    if (!peeked.ok()) {
      if (--errors == 0) return peeked;
      continue;
    }
    Address sender;
    if (Address::From(from, length, &sender) && sender.port() == remote.port() && sender.SameIp(remote)) {
      return Result::Ok();
    }
    Result dropped = os::RecvFrom(fd, &byte, sizeof byte, 0, nullptr, nullptr);
    if (!dropped.ok() && dropped.error != EAGAIN && --errors == 0) return dropped;
  }
}

// A bound UDP socket cannot give its port back: another socket takes the place of its descriptor.
Result Renew(int target, int family) {
  Result opened = os::Socket(family, SOCK_DGRAM, IPPROTO_UDP);
  Result renewed = opened;
  if (opened.ok()) {
    Fd fresh(opened.value);
    renewed = os::Dup3(fresh.get(), target);
  }
  // At least nobody is kept out until the caller closes it.
  if (!renewed.ok()) static_cast<void>(os::Setsockopt(target, SOL_SOCKET, SO_REUSEADDR, 1));
  return renewed;
}

// Our own socket was not seen. It may have been found while it was not quite there (a socket that is just being closed
// is answered with ENOENT as well), and on kernels without SO_NETNS_COOKIE, and without /proc, the question may have
// gone to another namespace. A new question, over a new socket, tells.
Result Review(Oracle* oracle, const UdpPlan& plan, int fd) {
  const bool known = oracle->namespace_cookie != 0;
  oracle->Close();
  uint64_t cookie = 0;
  Result again = CookieOf(fd, &cookie);
  if (again.ok()) again = Inspect(oracle, plan, cookie);
  if (!again.ok() || Says(again, UdpVerdict::kUnseen)) return Verdict(UdpVerdict::kUnseen);
  return Verdict(known ? UdpVerdict::kContended : UdpVerdict::kMoved);
}

}  // namespace

Result UdpConnect(Oracle* oracle, const UdpPlan& plan, int target) {
  if (oracle->Moved(target)) return Verdict(UdpVerdict::kMoved);
  Result result = SetOptions(target, plan.source.family(), plan.options);
  if (!result.ok()) return result;
  bool bound = false;
  result = Dance(oracle, plan, target, &bound);
  if (IsConnected(result)) {
    Result dropped = DropStrangers(target, plan.remote);
    if (dropped.ok()) return result;
    result = dropped;
  }
  if (Says(result, UdpVerdict::kUnseen)) result = Review(oracle, plan, target);
  if (bound) {
    Result renewed = Renew(target, plan.source.family());
    if (!renewed.ok()) return renewed;
  }
  return result;
}

Result UdpConnectLocked(Oracle* oracle, int target, const Address& remote, bool unlock) {
  if (oracle->Moved(target)) return Verdict(UdpVerdict::kMoved);
  Result result = os::Connect(target, remote.get(), remote.length());
  if (result.ok() && unlock) result = os::Setsockopt(target, SOL_SOCKET, SO_REUSEADDR, 1);
  if (result.ok()) result = DropStrangers(target, remote);
  return result.ok() ? Verdict(UdpVerdict::kConnectedAlone) : result;
}

Result UdpOwner(Oracle* oracle, const UdpPlan& plan) {
  DiagQuery query;
  query.protocol = IPPROTO_UDP;
  query.local = Unmapped(plan.source);
  query.remote = Unmapped(plan.remote);
  Result result = Interfaces(oracle, plan, query.remote);
  if (!result.ok()) return result;
  int state = 0;
  for (uint32_t interface : oracle->interfaces) {
    query.interface = interface;
    DiagAnswer answer;
    result = oracle->diag.Ask(query, &answer);
    if (!result.ok()) return result;
    if (!answer.found || state == kEstablished) continue;
    // Established elsewhere is as good as not connected.
    state = answer.IsConnectedTo(query.remote) ? kEstablished : kClosed;
  }
  return Result::Ok(state);
}

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
    if (result.ok()) return Result::Ok(fd.Release());
    // EACCES: below ip_unprivileged_port_start.
    if (result.error != EADDRINUSE && result.error != EACCES) return result;
  }
  return Result::Fail(Syscall::kBind, EADDRINUSE);
}

}  // namespace

Result UdpMoved(Oracle* oracle) {
  // A socket of any family tells the namespace; this one is always there.
  Result opened = os::Socket(AF_UNIX, SOCK_DGRAM, 0);
  if (!opened.ok()) return opened;
  const Fd fd(opened.value);
  return Result::Ok(oracle->Moved(fd.get()) ? 1 : 0);
}

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
    SockDiag diag;
    DiagAnswer answer;
    result = diag.Ask(query, &answer);
    if (result.ok() && (!answer.found || answer.cookie != cookie)) return Result::Ok(0);
    Links links;
    std::vector<uint32_t> interfaces;
    if (result.ok()) result = links.List(&interfaces);
    if (result.ok()) return Result::Ok(1);
    return IsRefusal(result.error) ? Result::Ok(0) : result;
  }
  return Result::Fail(Syscall::kSocket, EAFNOSUPPORT);
}

}  // namespace connectx
