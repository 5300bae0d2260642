// A socket on its way from the addon to Node: between the two, JavaScript runs, and there a worker thread can be
// terminated.
#ifndef CONNECTX_NAPI_UNADOPTED_SOCKET_H
#define CONNECTX_NAPI_UNADOPTED_SOCKET_H

#include <cstdint>

#include "netlink/sock_diag.h"
#include "os.h"

namespace connectx {

// Remembers the socket that was opened last, and closes it at the end of the environment if nobody has. By then Node
// has closed what it had adopted, and its number may be somebody else's; SO_COOKIE tells.
class UnadoptedSocket {
 public:
  UnadoptedSocket() = default;
  ~UnadoptedSocket() {
    uint64_t cookie = 0;
    if (fd_ >= 0 && CookieOf(fd_, &cookie).ok() && cookie == cookie_) static_cast<void>(os::Close(fd_));
  }
  UnadoptedSocket(const UnadoptedSocket&) = delete;
  UnadoptedSocket& operator=(const UnadoptedSocket&) = delete;

  // The one before has been adopted or closed by now: all of that happens within one call from JavaScript.
  Result Open(int family, int type, int protocol) {
    Result opened = os::Socket(family, type, protocol);
    fd_ = opened.ok() && CookieOf(opened.value, &cookie_).ok() ? opened.value : -1;
    return opened;
  }

 private:
  int fd_ = -1;
  uint64_t cookie_ = 0;
};

}  // namespace connectx

#endif  // CONNECTX_NAPI_UNADOPTED_SOCKET_H
