#include "netlink/links.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

#include "netlink/message.h"

namespace connectx {
namespace {

constexpr uint32_t kSequence = 1;  // one question a socket
constexpr int kOverruns = 8;
constexpr uint32_t kLoopbackIndex = 1;  // in every namespace: LOOPBACK_IFINDEX, include/net/flow.h

bool IsLoopback(const Address& address) {
  if (address.family() == AF_INET) return address.ip()[0] == 127;
  return IN6_IS_ADDR_LOOPBACK(reinterpret_cast<const in6_addr*>(address.ip())) != 0;
}

}  // namespace

Result DecodeLinks(const uint8_t* bytes, size_t length, uint32_t sequence, std::vector<uint32_t>* out,
                   bool* interrupted) {
  return DecodePart(bytes, length, sequence, interrupted, [out](const NetlinkMessage& message) {
    ifinfomsg info;
    if (message.type != RTM_NEWLINK || !message.Read(&info)) return false;
    out->push_back(static_cast<uint32_t>(info.ifi_index));
    return true;
  });
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
  MessageWriter writer(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, kSequence);
  writer.Add(ifinfomsg{});
  out->clear();
  return Dump(fd.get(), writer.Finish(), interrupted, [&](const uint8_t* bytes, size_t length) {
    return DecodeLinks(bytes, length, kSequence, out, interrupted);
  });
}

}  // namespace

Result Links::List(std::vector<uint32_t>* out) {
  return UntilWhole([out](bool* interrupted) { return ListOnce(out, interrupted); });
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
    const bool overrun = result.error == ENOBUFS && overruns++ < kOverruns;
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

Result DevicesTowards(Links* links, uint8_t protocol, const Address& remote, std::vector<uint32_t>* out) {
  out->clear();
  if (protocol == IPPROTO_UDP) {
    Result result = links->Towards(remote, out);
    if (result.ok()) out->push_back(0);
    return result;
  }
  if (remote.scope() != 0) out->push_back(remote.scope());
  return Result::Ok();
}

}  // namespace connectx
