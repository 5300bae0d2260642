// Numeric socket addresses: text <-> sockaddr_in / sockaddr_in6.
#ifndef CONNECTX_ADDRESS_H
#define CONNECTX_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "os.h"

namespace connectx {

// An IPv4 or IPv6 endpoint, ready for bind(2) and connect(2).
class Address {
 public:
  Address() = default;

  // Parses a numeric address of the family (AF_INET or AF_INET6); an IPv6 zone ("%eth0", "%2") becomes the scope id of
  // an address that has a scope; the kernel ignores it for any other one (__ipv6_addr_needs_scope_id).
  // Fails with EINVAL for text that is not such an address and with ENODEV (or ENXIO) for an unknown zone.
  static Result Parse(int family, const char* text, uint16_t port, Address* out);
  // Takes over what the kernel wrote. False when it is neither AF_INET nor AF_INET6 or is too short.
  static bool From(const sockaddr_storage& storage, socklen_t length, Address* out);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t length() const { return length_; }
  int family() const { return storage_.ss_family; }
  uint16_t port() const;
  void set_port(uint16_t port);
  uint32_t scope() const;
  // The raw bytes of the IP address: 4 or 16.
  const uint8_t* ip() const;
  size_t ip_length() const { return family() == AF_INET ? 4 : 16; }
  bool SameIp(const Address& other) const;
  // 0.0.0.0, :: or ::ffff:0.0.0.0.
  bool IsUnspecified() const;
  // fe80::/10.
  bool IsLinkLocal() const;
  // An IPv4-mapped IPv6 address as the IPv4 address that it stands for; any other one as it is.
  Address Unmapped() const;
  // Without the zone.
  std::string Text() const;

 private:
  sockaddr_in* v4() { return reinterpret_cast<sockaddr_in*>(&storage_); }
  sockaddr_in6* v6() { return reinterpret_cast<sockaddr_in6*>(&storage_); }
  const sockaddr_in* v4() const { return reinterpret_cast<const sockaddr_in*>(&storage_); }
  const sockaddr_in6* v6() const { return reinterpret_cast<const sockaddr_in6*>(&storage_); }

  sockaddr_storage storage_ = {};
  socklen_t length_ = 0;
};

// Where connect(2) leads from `local`: an unspecified destination is this machine, the source itself for IPv4
// (ip_route_output_key_hash_rcu), the loopback address for IPv6 (tcp_v6_connect, __ip6_datagram_connect).
Address ReachedFrom(const Address& local, const Address& remote);

// The local end of a socket, as an Address.
Result LocalAddress(int fd, Address* out);
Result PeerAddress(int fd, Address* out);

}  // namespace connectx

#endif  // CONNECTX_ADDRESS_H
