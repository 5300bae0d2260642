#include "netlink/message.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace connectx {

bool NextMessage(const uint8_t* bytes, size_t length, size_t* at, NetlinkMessage* out) {
  nlmsghdr header;
  if (*at > length || length - *at < sizeof header) return false;
  std::memcpy(&header, bytes + *at, sizeof header);
  if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > length - *at) return false;
  out->type = header.nlmsg_type;
  out->flags = header.nlmsg_flags;
  out->sequence = header.nlmsg_seq;
  out->payload = bytes + *at + NLMSG_HDRLEN;
  out->length = header.nlmsg_len - NLMSG_HDRLEN;
  *at += NLMSG_ALIGN(static_cast<size_t>(header.nlmsg_len));
  return true;
}

int ErrorOf(const NetlinkMessage& message) {
  int32_t error;
  if (message.length < sizeof error) return -1;
  std::memcpy(&error, message.payload, sizeof error);
  return error <= 0 && error > -4096 ? -error : -1;
}

Result BadMessage() { return Result::Fail(Syscall::kNetlink, EBADMSG); }

Result OpenNetlink(int protocol, uint32_t groups) {
  Result opened = os::Socket(AF_NETLINK, SOCK_RAW, protocol);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  Result result = groups == 0 ? os::Connect(fd.get(), name, sizeof address) : os::Bind(fd.get(), name, sizeof address);
  if (!result.ok()) return result;
  return Result::Ok(fd.Release());
}

}  // namespace connectx
