#include "netlink/links.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

#include "netlink/message.h"

namespace connectx {
namespace {

constexpr uint32_t kSequence = 1;  // one question a socket
constexpr int kAttempts = 8;
constexpr uint32_t kLoopbackIndex = 1;  // in every namespace: LOOPBACK_IFINDEX, include/net/flow.h

bool IsLoopback(const Address& address) {
  if (address.family() == AF_INET) return address.ip()[0] == 127;
  return IN6_IS_ADDR_LOOPBACK(reinterpret_cast<const in6_addr*>(address.ip())) != 0;
}

}  // namespace

Result DecodeLinks(const uint8_t* bytes, size_t length, uint32_t sequence, std::vector<uint32_t>* out,
                   bool* interrupted) {
  size_t at = 0;
  NetlinkMessage message;
  while (NextMessage(bytes, length, &at, &message)) {
    if (message.sequence != sequence) return BadMessage();
    if ((message.flags & NLM_F_DUMP_INTR) != 0) *interrupted = true;
    if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) {
      // The end of a dump carries an errno too (netlink_dump_done), 0 for a dump that is complete.
      const int error = ErrorOf(message);
      if (error > 0) return Result::Fail(Syscall::kNetlink, error);
      return error == 0 && message.type == NLMSG_DONE ? Result::Ok(1) : BadMessage();
    }
    ifinfomsg info;
    if (message.type != RTM_NEWLINK || message.length < sizeof info) return BadMessage();
    std::memcpy(&info, message.payload, sizeof info);
    out->push_back(static_cast<uint32_t>(info.ifi_index));
  }
  return at < length ? BadMessage() : Result::Ok(0);
}

void Links::Close() {
  watch_.Reset();
  links_.clear();
}

namespace {

// One list, on a socket of its own.
Result ListOnce(std::vector<uint32_t>* out, bool* interrupted) {
  Result opened = OpenNetlink(NETLINK_ROUTE, 0);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  struct {
    nlmsghdr header;
    ifinfomsg body;
  } request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.header.nlmsg_seq = kSequence;
  Result result = os::Send(fd.get(), &request, sizeof request);
  if (!result.ok()) return result;
  std::vector<uint8_t> buffer(32768);  // the kernel fills at most this much at once (netlink_dump)
  std::vector<uint32_t> links;
  do {
    result = os::Recv(fd.get(), buffer.data(), buffer.size());
    if (!result.ok()) return result;
    // Nothing at all is no part of a list.
    if (result.value == 0 || static_cast<size_t>(result.value) > buffer.size()) return BadMessage();
    result = DecodeLinks(buffer.data(), static_cast<size_t>(result.value), kSequence, &links, interrupted);
    if (!result.ok()) return result;
  } while (result.value == 0);
  *out = std::move(links);
  return Result::Ok();
}

}  // namespace

Result Links::List(std::vector<uint32_t>* out) {
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    bool interrupted = false;
    Result result = ListOnce(out, &interrupted);
    if (!result.ok() || !interrupted) return result;
  }
  return Result::Fail(Syscall::kNetlink, EINTR);
}

Result Links::Update() {
  bool changed = watch_.get() < 0;
  if (changed) {
    Result opened = OpenNetlink(NETLINK_ROUTE, RTMGRP_LINK);
    if (!opened.ok()) return opened;
    watch_ = Fd(opened.value);
  }
  // What was announced does not matter, only that something was; ENOBUFS says that more was than could be kept.
  uint8_t announcement[64];
  int overruns = 0;
  for (;;) {
    Result result = os::Recv(watch_.get(), announcement, sizeof announcement);
    if (result.error == EAGAIN) break;
    const bool overrun = result.error == ENOBUFS && overruns++ < kAttempts;
    if (!result.ok() && !overrun) return result;
    changed = true;
  }
  return changed ? List(&links_) : Result::Ok();
}

Result Links::Towards(const Address& remote, std::vector<uint32_t>* out) {
  out->clear();
  if (remote.scope() != 0) {
    out->push_back(remote.scope());
    return Result::Ok();
  }
  if (IsLoopback(remote)) {
    // A packet with a loopback address arrives on no other interface (ip_route_input_slow, ipv6_rcv).
    out->push_back(kLoopbackIndex);
    return Result::Ok();
  }
  Result result = Update();
  if (!result.ok()) {
    Close();
    return result;
  }
  out->assign(links_.begin(), links_.end());
  if (out->empty()) out->push_back(0);
  return Result::Ok();
}

}  // namespace connectx
