// The control messages that come with a datagram.
#include "udp/control.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "fuzz.h"
#include "udp/offload.h"

using namespace connectx;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  const uint32_t size = SegmentSizeIn(bytes, length);
  MUST(size <= 65535);
  // A size comes from a message of the right kind, whole, somewhere in it.
  bool found = size == 0;
  for (size_t at = 0; !found && at + CMSG_LEN(sizeof(int)) <= length; at += sizeof(size_t)) {
    cmsghdr header;
    int said;
    std::memcpy(&header, bytes + at, sizeof header);
    std::memcpy(&said, bytes + at + CMSG_LEN(0), sizeof said);
    found = header.cmsg_level == IPPROTO_UDP && header.cmsg_type == UDP_GRO && said == static_cast<int>(size) &&
            header.cmsg_len <= length - at;
  }
  MUST(found);
  // What is written is read again, if it were a message of UDP_GRO.
  uint8_t control[kSegmentControl];
  const auto wanted = static_cast<uint16_t>(length);
  WriteSegmentSize(control, wanted);
  uint16_t written;
  std::memcpy(&written, control + CMSG_LEN(0), sizeof written);
  MUST(written == wanted && SegmentSizeIn(control, sizeof control) == 0);
  return 0;
}
