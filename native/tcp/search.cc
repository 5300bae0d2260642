#include "tcp/search.h"

#include <cerrno>

namespace connectx {

Result BindFirst(int fd, Address local, const PortCircle& circle, bool* denied) {
  *denied = false;
  for (size_t passed = 0; passed < circle.count; passed++) {
    local.set_port(circle.ports[(circle.start + passed) % circle.size]);
    const Result result = os::Bind(fd, local.get(), local.length());
    if (result.ok()) return Result::Ok(static_cast<int>(passed));
    if (result.error == EACCES) *denied = true;
    if (result.error != EACCES && result.error != EADDRINUSE) return result;
  }
  return Result::Ok(static_cast<int>(circle.count));
}

}  // namespace connectx
