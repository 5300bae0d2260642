#include "socket_options.h"

#include <linux/filter.h>
#include <linux/in.h>
#include <linux/in6.h>

#include <algorithm>

// Kernel headers older than the running kernel lack these numbers; they are ABI and do not change.
#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78  // Linux 4.15
#endif

namespace connectx {

Result SetOptions(int fd, int family, const SocketOptions& options) {
  const bool v6 = family == AF_INET6;
  Result result;
  if (!options.interface.empty()) {
    result = os::Setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, options.interface.data(),
                            static_cast<socklen_t>(options.interface.size()));
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

Result CheckIsSocket(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return os::Getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
}

}  // namespace connectx
