// Which source address would the kernel take towards a destination? Asked over rtnetlink (RTM_GETROUTE, rtnetlink(7)),
// which uses up no port, unlike connecting a scratch socket.
#ifndef CONNECTX_NETLINK_ROUTE_H
#define CONNECTX_NETLINK_ROUTE_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "address.h"
#include "netlink/message.h"
#include "os.h"

namespace connectx {

struct RouteQuery {
  Address destination;
  uint32_t interface = 0;  // index; 0: any
  uint32_t mark = 0;
  // What rules may depend on (`ip rule ... ipproto udp dport 53`); 0: not known. The ports only with a protocol.
  uint8_t protocol = 0;  // IPPROTO_TCP or IPPROTO_UDP
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  uint8_t tos = 0;  // IPv4
};

struct RouteAnswer {
  uint8_t type = 0;  // RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST ... (linux/rtnetlink.h)
  uint32_t interface = 0;
  // RTA_PREFSRC: absent when the kernel has no usable address for this route.
  std::optional<Address> source;
};

// The codec, apart from I/O so that it can be tested with bytes.
std::vector<uint8_t> EncodeRouteQuery(const RouteQuery& query, uint32_t sequence);
// An errno inside the answer (ENETUNREACH ...) is the Result's error; an answer that is not one is EBADMSG.
Result DecodeRouteAnswer(const uint8_t* bytes, size_t length, uint32_t sequence, int family, RouteAnswer* out);

// Asks on `socket`, which is one of NETLINK_ROUTE.
Result RouteLookup(const RouteQuery& query, NetlinkSocket* socket, RouteAnswer* out);

}  // namespace connectx

#endif  // CONNECTX_NETLINK_ROUTE_H
