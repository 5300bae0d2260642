// For the tests: a kernel that answers wrongly over sock_diag. With LD_PRELOAD its recv(2) stands before the C
// library's; CONNECTX_TEST_ANSWER in the environment says what becomes of an answer.
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

int OptionOf(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

// An NLMSG_ERROR in place of the answer. A kernel that was built without CONFIG_INET_UDP_DIAG says ENOENT to
// everything.
ssize_t Refuse(void* answer, int error) {
  nlmsgerr body = {};
  body.error = -error;
  auto* bytes = static_cast<char*>(answer);
  nlmsghdr header;
  std::memcpy(&header, bytes, sizeof header);
  header.nlmsg_len = NLMSG_LENGTH(sizeof body);
  header.nlmsg_type = NLMSG_ERROR;
  std::memcpy(bytes, &header, sizeof header);
  std::memcpy(bytes + NLMSG_HDRLEN, &body, sizeof body);
  return static_cast<ssize_t>(NLMSG_LENGTH(sizeof body));
}

ssize_t Fail(int error) {
  errno = error;
  return -1;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) ssize_t recv(int fd, void* bytes, size_t length, int flags) {
  const ssize_t received = syscall(SYS_recvfrom, fd, bytes, length, flags, nullptr, nullptr);
  const char* set = std::getenv("CONNECTX_TEST_ANSWER");
  if (received < static_cast<ssize_t>(sizeof(nlmsghdr)) || set == nullptr) return received;
  if (OptionOf(fd, SO_DOMAIN) != AF_NETLINK || OptionOf(fd, SO_PROTOCOL) != NETLINK_SOCK_DIAG) return received;
  const std::string what = set;
  if (what.rfind("error ", 0) == 0) return Refuse(bytes, std::atoi(set + 6));
  if (what == "none") return Fail(EAGAIN);
  if (what == "too long") return static_cast<ssize_t>(length) + 1;
  if (what == "cut off") return received - 1;
  auto* header = static_cast<nlmsghdr*>(bytes);
  if (what == "belated") header->nlmsg_seq--;
  if (what == "of another kind") header->nlmsg_type++;
  return received;
}
