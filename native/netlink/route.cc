#include "netlink/route.h"

#include <linux/rtnetlink.h>

#include <cerrno>
#include <cstring>

#include "netlink/message.h"

namespace connectx {
namespace {

constexpr uint32_t kSequence = 1;  // a question at a time

size_t Align(size_t length) { return (length + NLMSG_ALIGNTO - 1) & ~static_cast<size_t>(NLMSG_ALIGNTO - 1); }

void PutBytes(std::vector<uint8_t>* bytes, const void* data, size_t length) {
  const auto* from = static_cast<const uint8_t*>(data);
  bytes->insert(bytes->end(), from, from + length);
  bytes->resize(Align(bytes->size()));
}

void PutAttribute(std::vector<uint8_t>* bytes, uint16_t type, const void* data, size_t length) {
  const rtattr header = {static_cast<unsigned short>(sizeof(rtattr) + length), type};
  PutBytes(bytes, &header, sizeof header);
  PutBytes(bytes, data, length);
}

bool ToAddress(int family, const uint8_t* data, size_t length, Address* out) {
  sockaddr_storage storage = {};
  storage.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET && length == sizeof(in_addr)) {
    std::memcpy(&reinterpret_cast<sockaddr_in*>(&storage)->sin_addr, data, length);
    return Address::From(storage, sizeof(sockaddr_in), out);
  }
  if (family == AF_INET6 && length == sizeof(in6_addr)) {
    std::memcpy(&reinterpret_cast<sockaddr_in6*>(&storage)->sin6_addr, data, length);
    return Address::From(storage, sizeof(sockaddr_in6), out);
  }
  return false;
}

}  // namespace

std::vector<uint8_t> EncodeRouteQuery(const RouteQuery& query, uint32_t sequence) {
  std::vector<uint8_t> bytes;
  bytes.reserve(128);
  nlmsghdr header = {};
  header.nlmsg_type = RTM_GETROUTE;
  header.nlmsg_flags = NLM_F_REQUEST;
  header.nlmsg_seq = sequence;
  PutBytes(&bytes, &header, sizeof header);
  rtmsg route = {};
  route.rtm_family = static_cast<unsigned char>(query.destination.family());
  route.rtm_dst_len = static_cast<unsigned char>(query.destination.ip_length() * 8);
  PutBytes(&bytes, &route, sizeof route);
  PutAttribute(&bytes, RTA_DST, query.destination.ip(), query.destination.ip_length());
  const uint32_t interface = query.interface != 0 ? query.interface : query.destination.scope();
  if (interface != 0) PutAttribute(&bytes, RTA_OIF, &interface, sizeof interface);
  if (query.mark != 0) PutAttribute(&bytes, RTA_MARK, &query.mark, sizeof query.mark);
  const auto total = static_cast<uint32_t>(bytes.size());
  std::memcpy(bytes.data() + offsetof(nlmsghdr, nlmsg_len), &total, sizeof total);
  return bytes;
}

Result DecodeRouteAnswer(const uint8_t* bytes, size_t length, uint32_t sequence, int family, RouteAnswer* out) {
  *out = RouteAnswer();
  size_t start = 0;
  NetlinkMessage message;
  if (!NextMessage(bytes, length, &start, &message) || message.sequence != sequence) return BadMessage();
  if (message.type == NLMSG_ERROR) {
    const int error = ErrorOf(message);
    return error > 0 ? Result::Fail(Syscall::kNetlink, error) : BadMessage();
  }
  rtmsg route;
  if (message.type != RTM_NEWROUTE || message.length < sizeof route) return BadMessage();
  bytes = message.payload;
  const size_t end = message.length;
  std::memcpy(&route, bytes, sizeof route);
  if (route.rtm_family != family) return BadMessage();
  out->type = route.rtm_type;
  size_t at = Align(sizeof route);
  while (at + sizeof(rtattr) <= end) {
    rtattr attribute;
    std::memcpy(&attribute, bytes + at, sizeof attribute);
    if (attribute.rta_len < sizeof attribute || at + attribute.rta_len > end) return BadMessage();
    const uint8_t* data = bytes + at + sizeof attribute;
    const size_t size = attribute.rta_len - sizeof attribute;
    if (attribute.rta_type == RTA_PREFSRC) {
      Address source;
      if (!ToAddress(family, data, size, &source)) return BadMessage();
      out->source = source;
    } else if (attribute.rta_type == RTA_OIF) {
      if (size != sizeof out->interface) return BadMessage();
      std::memcpy(&out->interface, data, size);
    }
    at += Align(attribute.rta_len);
  }
  return Result::Ok();
}

Result RouteLookup(const RouteQuery& query, Fd* socket, RouteAnswer* out) {
  if (socket->get() < 0) {
    Result opened = OpenNetlink(NETLINK_ROUTE, 0);
    if (!opened.ok()) return opened;
    *socket = Fd(opened.value);
  }
  const std::vector<uint8_t> request = EncodeRouteQuery(query, kSequence);
  Result result = os::Send(socket->get(), request.data(), request.size());
  // The kernel answers within send(2); a route with its metrics stays far below this size.
  uint8_t answer[8192];
  if (result.ok()) result = os::Recv(socket->get(), answer, sizeof answer);
  if (result.ok() && static_cast<size_t>(result.value) > sizeof answer) result = BadMessage();
  if (result.ok()) {
    result = DecodeRouteAnswer(answer, static_cast<size_t>(result.value), kSequence, query.destination.family(), out);
    // An errno inside of it is an answer like another one.
    if (result.ok() || result.error != EBADMSG) return result;
  }
  // No belated answer shall meet the next question.
  socket->Reset();
  return result;
}

}  // namespace connectx
