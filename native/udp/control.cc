#include "udp/control.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "udp/offload.h"

namespace connectx {
namespace {

constexpr int kLargestSegment = 65535;

size_t Align(size_t length) { return (length + sizeof(size_t) - 1) & ~(sizeof(size_t) - 1); }

static_assert(kSegmentControl >= CMSG_SPACE(sizeof(uint16_t)));
static_assert(kReceiveControl >= CMSG_SPACE(sizeof(int)));

}  // namespace

uint32_t SegmentSizeIn(const uint8_t* control, size_t length) {
  cmsghdr header;
  for (size_t at = 0; length - at >= sizeof header;) {
    std::memcpy(&header, control + at, sizeof header);
    if (header.cmsg_len < sizeof header || header.cmsg_len > length - at) return 0;
    int size = 0;
    if (header.cmsg_level == IPPROTO_UDP && header.cmsg_type == UDP_GRO && header.cmsg_len >= CMSG_LEN(sizeof size)) {
      std::memcpy(&size, control + at + CMSG_LEN(0), sizeof size);
      return size > 0 && size <= kLargestSegment ? static_cast<uint32_t>(size) : 0;
    }
    const size_t next = Align(header.cmsg_len);
    if (next > length - at) return 0;
    at += next;
  }
  return 0;
}

void WriteSegmentSize(uint8_t (&control)[kSegmentControl], uint16_t size) {
  std::memset(control, 0, sizeof control);
  cmsghdr header = {};
  header.cmsg_len = CMSG_LEN(sizeof size);
  header.cmsg_level = IPPROTO_UDP;
  header.cmsg_type = UDP_SEGMENT;
  std::memcpy(control, &header, sizeof header);
  std::memcpy(control + CMSG_LEN(0), &size, sizeof size);
}

}  // namespace connectx
