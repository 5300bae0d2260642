#include "tcp/prepare.h"

#include <linux/in.h>
#include <linux/tcp.h>

#include <cerrno>
#include <utility>

// Kernel headers older than the running kernel lack this number; it is ABI and does not change.
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51  // Linux 6.3
#endif

namespace connectx {
namespace {

Result SetAll(int fd, const TcpPlan& plan) {
  // Read live from both sockets whenever one of them binds explicitly, so it is set even where this socket binds
  // nothing: without it nobody could bind this socket's port explicitly towards another destination.
  Result result = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (result.ok() && plan.fast_open) result = os::Setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
  if (!result.ok()) return result;
  return SetOptions(fd, plan.family, plan.options);
}

Result TcpOpen(const TcpPlan& plan) {
  Result opened = os::Socket(plan.family, SOCK_STREAM, IPPROTO_TCP);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  Result result = SetAll(fd.get(), plan);
  if (!result.ok()) return result;
  return Result::Ok(fd.Release());
}

Result TcpBind(int fd, const TcpPlan& plan) {
  // Both options are of level IPPROTO_IP on IPv6 sockets too (ip(7)).
  if (plan.low != 0 || plan.high != 0) {
    const uint32_t range = static_cast<uint32_t>(plan.low) | static_cast<uint32_t>(plan.high) << 16;
    Result result = os::Setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, static_cast<int>(range));
    if (!result.ok()) return result;
  }
  if (!plan.source.has_value()) return Result::Ok();
  if (plan.port == 0) {
    // The port is chosen at connect(2), when the destination is known: it is shared over destinations (ip(7)).
    Result result = os::Setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (!result.ok()) return result;
  }
  return os::Bind(fd, plan.source->get(), plan.source->length());
}

// The descriptor of a socket that is ready, where the plan wants it.
Result Place(Fd fd, const TcpPlan& plan) {
  if (plan.over >= 0) return os::Dup3(fd.get(), plan.over);
  return Result::Ok(fd.Release());
}

constexpr const char* kRangePath = "/proc/sys/net/ipv4/ip_local_port_range";
constexpr size_t kRangeBytes = 32;

// The text of the sysctl, as of now. The file is kept open, because to open it costs more than a socket does: it
// answers for the network namespace in which it was opened, like the sockets.
Result ReadRange(NamespaceSockets* sockets, char* bytes) {
  // Nobody would notice that the thread has moved.
  if (sockets->namespace_cookie == 0) return os::ReadFile(kRangePath, bytes, kRangeBytes);
  if (sockets->port_range.get() < 0) {
    Result opened = os::Open(kRangePath);
    if (!opened.ok()) return opened;
    sockets->port_range = Fd(opened.value);
  }
  Result result = os::Pread(sockets->port_range.get(), bytes, kRangeBytes);
  if (result.ok()) return result;
  sockets->port_range.Reset();
  return os::ReadFile(kRangePath, bytes, kRangeBytes);
}

// One number and what is behind it; -1 when there is none.
int TakeNumber(const char** at, const char* end) {
  while (*at < end && (**at == ' ' || **at == '\t')) ++*at;
  int number = -1;
  for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
    number = (number < 0 ? 0 : number) * 10 + (**at - '0');
    if (number > 65535) return -1;
  }
  return number;
}

}  // namespace

Result TcpPrepare(const TcpPlan& plan) {
  Result opened = TcpOpen(plan);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  Result result = TcpBind(fd.get(), plan);
  if (!result.ok()) return result;
  return Place(std::move(fd), plan);
}

bool IsInRange(const char* text, size_t length, uint16_t port) {
  const char* end = text + length;
  const int low = TakeNumber(&text, end);
  const int high = TakeNumber(&text, end);
  // A low end of 0 is possible; the kernel never assigns that port.
  return low >= 0 && low <= port && port <= high;
}

Result TcpPin(NamespaceSockets* sockets, TcpPlan plan, uint16_t port, bool* assigned) {
  Result opened = TcpOpen(plan);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  sockets->MovedTo(fd.get());
  char bytes[kRangeBytes];
  Result result = ReadRange(sockets, bytes);
  // A bound outside of the sysctl's range would be ignored in silence. Where the range cannot be read, the port is
  // bound explicitly.
  *assigned = result.ok() && IsInRange(bytes, static_cast<size_t>(result.value), port);
  if (*assigned) {
    plan.low = port;
    plan.high = port;
    result = TcpBind(fd.get(), plan);
    if (!result.ok()) return result;
  }
  return Place(std::move(fd), plan);
}

namespace {

// Whether the kernel knows the socket by these ends; nothing where it does not say.
std::optional<bool> IsKnownBy(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote) {
  sockets->MovedTo(fd);
  uint64_t cookie = 0;
  DiagQuery query;
  query.protocol = IPPROTO_TCP;
  query.local = local.Unmapped();
  query.remote = remote.Unmapped();
  query.interface = DeviceOf(fd);
  DiagAnswer answer;
  if (!CookieOf(fd, &cookie).ok() || !sockets->diag.Ask(query, &answer).ok()) return std::nullopt;
  return answer.found && answer.cookie == cookie;
}

// Whether the socket is connected to itself, by whatever name: a BPF program on the cgroup may have rewritten the
// destination, and hides it from getpeername(2). Where the kernel does not say, it is not.
bool IsOwnPeer(NamespaceSockets* sockets, int fd, const Address& local) {
  return IsKnownBy(sockets, fd, local, local).value_or(false);
}

bool IsClosed(int fd) {
  uint8_t state = 0;  // the first byte of tcp_info
  socklen_t length = sizeof state;
  return os::Getsockopt(fd, IPPROTO_TCP, TCP_INFO, &state, &length).ok() && state == kClosed;
}

// Where connect(2) has led, if not where it was asked to.
TcpVerdict CheckPeer(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote) {
  if (IsKnownBy(sockets, fd, local, ReachedFrom(local, remote)).value_or(true)) return TcpVerdict::kAsAsked;
  if (IsOwnPeer(sockets, fd, local)) return TcpVerdict::kSelfConnected;
  // On this machine a connect may have been refused by now.
  return IsClosed(fd) ? TcpVerdict::kPeerUnknown : TcpVerdict::kRewritten;
}

}  // namespace

Result TcpCheck(NamespaceSockets* sockets, int fd, const std::optional<Address>& source, uint16_t low, uint16_t high,
                const Address& remote, bool peer, uint16_t* port) {
  Address local;
  Result result = LocalAddress(fd, &local);
  if (!result.ok()) return result;
  *port = local.port();
  TcpVerdict verdict = TcpVerdict::kAsAsked;
  const bool itself =
      local.port() == remote.port() && (local.SameIp(ReachedFrom(local, remote)) || IsOwnPeer(sockets, fd, local));
  if (itself) {
    verdict = TcpVerdict::kSelfConnected;
  } else if (source.has_value() && !local.SameIp(*source)) {
    verdict = TcpVerdict::kOtherAddress;
  } else if (low != 0 && (local.port() < low || local.port() > high)) {
    verdict = TcpVerdict::kOtherPort;
  } else if (peer) {
    verdict = CheckPeer(sockets, fd, local, remote);
  }
  return Result::Ok(static_cast<int>(verdict));
}

Result TcpFeatures() {
  Result opened = os::Socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
  if (opened.error == EAFNOSUPPORT) opened = os::Socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  const auto knows = [&fd](int level, int name) { return os::Setsockopt(fd.get(), level, name, 0).ok(); };
  int features = 0;
  if (knows(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)) features |= kBindAddressNoPort;
  if (knows(IPPROTO_IP, IP_LOCAL_PORT_RANGE)) features |= kLocalPortRange;
  if (knows(IPPROTO_TCP, TCP_FASTOPEN_CONNECT)) features |= kFastOpenConnect;
  return Result::Ok(features);
}

}  // namespace connectx
