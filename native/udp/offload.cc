#include "udp/offload.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace connectx {

Result UdpOffloads() {
  Result opened = os::Socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
  if (opened.error == EAFNOSUPPORT) opened = os::Socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP);
  if (!opened.ok()) return opened;
  const Fd fd(opened.value);
  const auto knows = [&fd](int name, int value) { return os::Setsockopt(fd.get(), IPPROTO_UDP, name, value).ok(); };
  int offloads = 0;
  if (knows(UDP_SEGMENT, 0)) offloads |= kUdpSegment;
  if (knows(UDP_GRO, 1)) offloads |= kUdpReceiveOffload;
  return Result::Ok(offloads);
}

}  // namespace connectx
