// The first of many ports that can be bound.
#ifndef CONNECTX_TCP_SEARCH_H
#define CONNECTX_TCP_SEARCH_H

#include <cstddef>
#include <cstdint>

#include "address.h"
#include "os.h"

namespace connectx {

// Ports that are tried in a circle.
struct PortCircle {
  const uint16_t* ports = nullptr;
  size_t size = 0;  // at least 1
  // The place of the first one, and how many from there on.
  size_t start = 0;
  size_t count = 0;
};

// Binds `fd`, a socket with SO_REUSEADDR that is not bound, to `local` and the first of these ports that is to be had;
// a bind(2) that fails leaves the socket as it was. value is how many were passed over, `circle.count` where none is to
// be had; `denied`: whether bind(2) has said EACCES of one. Failure: what bind(2) says of the address.
Result BindFirst(int fd, Address local, const PortCircle& circle, bool* denied);

}  // namespace connectx

#endif  // CONNECTX_TCP_SEARCH_H
