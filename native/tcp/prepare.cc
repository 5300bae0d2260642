#include "tcp/prepare.h"

#include <linux/in.h>
#include <linux/tcp.h>

#include <cerrno>

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

}  // namespace

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

Result TcpPrepare(const TcpPlan& plan) {
  Result opened = TcpOpen(plan);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  Result result = TcpBind(fd.get(), plan);
  if (!result.ok()) return result;
  return Result::Ok(fd.Release());
}

Result TcpCheck(int fd, const std::optional<Address>& source, uint16_t low, uint16_t high, const Address& remote) {
  Address local;
  Result result = LocalAddress(fd, &local);
  if (!result.ok()) return result;
  TcpVerdict verdict = TcpVerdict::kAsAsked;
  if (local.port() == remote.port() && local.SameIp(remote)) {
    verdict = TcpVerdict::kSelfConnected;
  } else if (source.has_value() && !local.SameIp(*source)) {
    verdict = TcpVerdict::kOtherAddress;
  } else if (low != 0 && (local.port() < low || local.port() > high)) {
    verdict = TcpVerdict::kOtherPort;
  }
  return Result::Ok(static_cast<int>(verdict) << 16 | local.port());
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
