// A part of the list of interfaces of rtnetlink(7).
#include "netlink/links.h"

#include <linux/rtnetlink.h>

#include "fuzz.h"

using namespace connectx;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  std::vector<uint32_t> links;
  bool interrupted = false;
  const Result result = DecodeLinks(bytes, length, kSequence, &links, &interrupted);
  MUST(result.ok() || (result.syscall == Syscall::kNetlink && result.error > 0 && result.error < 4096));
  MUST(!result.ok() || result.value == 0 || result.value == 1);
  MUST(links.size() * (sizeof(nlmsghdr) + sizeof(ifinfomsg)) <= length);
  return 0;
}
