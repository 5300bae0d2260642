// The options that TCP and UDP sockets have in common, and their order.
#ifndef CONNECTX_SOCKET_OPTIONS_H
#define CONNECTX_SOCKET_OPTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "os.h"

namespace connectx {

struct SocketOption {
  int level = 0;
  int name = 0;
  std::vector<uint8_t> value;
};

struct SocketOptions {
  bool free_bind = false;
  bool transparent = false;
  std::string interface;
  std::optional<uint32_t> mark;
  std::vector<SocketOption> others;
};

// All of them, before bind(2).
Result SetOptions(int fd, int family, const SocketOptions& options);

// getsockopt(2) with the size of `value` as its capacity; afterwards `value` is what was written.
Result GetOption(int fd, int level, int name, std::vector<uint8_t>* value);

// The index of the interface of this name, which may be any text.
Result InterfaceIndex(const std::string& name);

// The device that the socket is bound to, 0 for none: by its options, or from birth (a BPF program on its cgroup, as
// `ip vrf exec` has one).
uint32_t DeviceOf(int fd);

// ENOTSOCK or EBADF for what is no socket.
Result CheckIsSocket(int fd);

}  // namespace connectx

#endif  // CONNECTX_SOCKET_OPTIONS_H
