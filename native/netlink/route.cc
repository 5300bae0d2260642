#include "netlink/route.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

#include "netlink/message.h"

namespace connectx {
namespace {

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
  MessageWriter writer(RTM_GETROUTE, NLM_F_REQUEST, sequence);
  Address destination = query.destination;
  // connect(2) to an unspecified address leads to this machine, and netlink takes it for none.
  if (destination.IsUnspecified()) {
    static_cast<void>(
        Address::Parse(destination.family(), destination.family() == AF_INET ? "127.0.0.1" : "::1", 0, &destination));
  }
  rtmsg route = {};
  route.rtm_family = static_cast<unsigned char>(destination.family());
  route.rtm_dst_len = static_cast<unsigned char>(destination.ip_length() * 8);
  route.rtm_tos = query.tos;
  writer.Add(route);
  writer.AddAttribute(RTA_DST, destination.ip(), destination.ip_length());
  const uint32_t interface = query.interface != 0 ? query.interface : query.destination.scope();
  if (interface != 0) writer.AddAttribute(RTA_OIF, interface);
  if (query.mark != 0) writer.AddAttribute(RTA_MARK, query.mark);
  if (query.protocol != 0) {
    writer.AddAttribute(RTA_IP_PROTO, query.protocol);
    if (query.local_port != 0) writer.AddAttribute(RTA_SPORT, htons(query.local_port));
    if (query.remote_port != 0) writer.AddAttribute(RTA_DPORT, htons(query.remote_port));
  }
  return writer.Finish();
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
  if (message.type != RTM_NEWROUTE || !message.Read(&route) || route.rtm_family != family) return BadMessage();
  out->type = route.rtm_type;
  AttributeReader attribute(message, sizeof route);
  while (attribute.Next()) {
    if (attribute.type() == RTA_PREFSRC) {
      Address source;
      if (!ToAddress(family, attribute.data(), attribute.size(), &source)) return BadMessage();
      out->source = source;
    } else if (attribute.type() == RTA_OIF) {
      if (!attribute.Read(&out->interface)) return BadMessage();
    }
  }
  return attribute.failed() ? BadMessage() : Result::Ok();
}

Result RouteLookup(const RouteQuery& query, NetlinkSocket* socket, RouteAnswer* out) {
  const int family = query.destination.family();
  return socket->Execute([&](uint32_t sequence) { return EncodeRouteQuery(query, sequence); },
                         [&](const uint8_t* bytes, size_t length, uint32_t sequence) {
                           return DecodeRouteAnswer(bytes, length, sequence, family, out);
                         });
}

}  // namespace connectx
