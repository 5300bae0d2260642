#include "socket_options.h"

#include <linux/filter.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>

// Kernel headers older than the running kernel lack these numbers; they are ABI and do not change.
#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78  // Linux 4.15
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62  // Linux 5.1
#endif

namespace connectx {
namespace {

// The kernel would take what is before a NUL, and the beginning of what is too long.
bool IsName(const std::string& name) { return name.size() < IF_NAMESIZE && name.find('\0') == std::string::npos; }

// Whoever has no CAP_NET_RAW may bind a socket to a device once, and not again even to the same one
// (sock_setbindtodevice): a socket that is bound to it already is left alone.
Result BindToDevice(int fd, const std::string& name) {
  if (!IsName(name)) return Result::Fail(Syscall::kSetsockopt, ENODEV);
  char bound[IF_NAMESIZE] = {};
  socklen_t length = sizeof bound;
  if (os::Getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bound, &length).ok() && name == bound) return Result::Ok();
  return os::Setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name.data(), static_cast<socklen_t>(name.size()));
}

}  // namespace

Result SetOptions(int fd, int family, const SocketOptions& options) {
  const bool v6 = family == AF_INET6;
  Result result;
  if (!options.interface.empty()) {
    result = BindToDevice(fd, options.interface);
    if (!result.ok()) return result;
  }
  if (options.mark.has_value()) {
    result = os::Setsockopt(fd, SOL_SOCKET, SO_MARK, static_cast<int>(*options.mark));
    if (!result.ok()) return result;
  }
  if (options.free_bind) {
    result = v6 ? os::Setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1) : os::Setsockopt(fd, IPPROTO_IP, IP_FREEBIND, 1);
    if (!result.ok()) return result;
  }
  if (options.transparent) {
    result =
        v6 ? os::Setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1) : os::Setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
    if (!result.ok()) return result;
  }
  for (const SocketOption& option : options.others) {
    result =
        os::Setsockopt(fd, option.level, option.name, option.value.data(), static_cast<socklen_t>(option.value.size()));
    if (!result.ok()) return result;
  }
  return Result::Ok();
}

Result GetOption(int fd, int level, int name, std::vector<uint8_t>* value) {
  // The one option whose length is not in bytes, but in instructions of 8 bytes (sk_get_filter, Linux 6.12): told of
  // bytes, the kernel would write beyond them.
  const size_t unit = level == SOL_SOCKET && name == SO_GET_FILTER ? sizeof(sock_filter) : 1;
  auto length = static_cast<socklen_t>(value->size() / unit);
  Result result = os::Getsockopt(fd, level, name, value->data(), &length);
  // Some options report the length that they would have needed.
  if (result.ok()) value->resize(std::min(length * unit, value->size()));
  return result;
}

Result InterfaceIndex(const std::string& name) {
  if (!IsName(name)) return Result::Fail(Syscall::kIfNameToIndex, ENODEV);
  return os::IfNameToIndex(name.c_str());
}

uint32_t DeviceOf(int fd) {
  int index = 0;
  socklen_t length = sizeof index;
  if (os::Getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, &length).ok()) return static_cast<uint32_t>(index);
  char name[IF_NAMESIZE] = {};
  length = sizeof name;
  if (!os::Getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length).ok() || length == 0) return 0;
  const Result found = os::IfNameToIndex(name);
  return found.ok() ? static_cast<uint32_t>(found.value) : 0;
}

Result CheckIsSocket(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return os::Getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
}

}  // namespace connectx
