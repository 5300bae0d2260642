// The answer of sock_diag(7) to one question.
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include <cerrno>
#include <cstring>

#include "fuzz.h"
#include "netlink/sock_diag.h"

using namespace connectx;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  DiagAnswer answer;
  const Result result = DecodeDiagAnswer(bytes, length, kSequence, &answer);
  MUST(result.ok() || (result.syscall == Syscall::kNetlink && result.error > 0 && result.error < 4096));
  MUST(result.ok() || !answer.found);
  Address remote;
  MUST(Address::Parse(AF_INET, "192.0.2.53", 53, &remote).ok());
  MUST(answer.found || !answer.IsConnectedTo(remote));
  if (!result.ok()) return 0;
  // Read once more, with bounds of its own: it is an answer to this question ...
  nlmsghdr header;
  MUST(length >= sizeof header);
  std::memcpy(&header, bytes, sizeof header);
  MUST(header.nlmsg_len <= length && header.nlmsg_seq == kSequence);
  // ... "found" only where a socket stands, and "nobody" only where ENOENT does.
  if (answer.found) {
    MUST(header.nlmsg_type == SOCK_DIAG_BY_FAMILY && header.nlmsg_len >= sizeof header + sizeof(inet_diag_msg));
    MUST(!answer.IsConnectedTo(remote) || (answer.state == kEstablished && answer.remote_port == 53));
  } else {
    int32_t error;
    MUST(header.nlmsg_type == NLMSG_ERROR && header.nlmsg_len >= sizeof header + sizeof error);
    std::memcpy(&error, bytes + sizeof header, sizeof error);
    MUST(error == -ENOENT);
  }
  return 0;
}
