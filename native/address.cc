#include "address.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace connectx {
namespace {

// A zone is an interface name, or its index in digits (RFC 4007, section 11).
Result ParseZone(const char* zone) {
  char* end = nullptr;
  errno = 0;
  unsigned long index = std::strtoul(zone, &end, 10);
  if (*zone >= '0' && *zone <= '9' && *end == '\0' && errno == 0 && index > 0 && index <= INT32_MAX) {
    return Result::Ok(static_cast<int>(index));
  }
  return os::IfNameToIndex(zone);
}

bool HasScope(const in6_addr& ip) {
  return IN6_IS_ADDR_LINKLOCAL(&ip) || IN6_IS_ADDR_MC_NODELOCAL(&ip) || IN6_IS_ADDR_MC_LINKLOCAL(&ip);
}

using NameCall = Result (*)(int, sockaddr*, socklen_t*);

Result Endpoint(int fd, NameCall call, Syscall syscall, Address* out) {
  sockaddr_storage storage = {};
  socklen_t length = sizeof storage;
  Result result = call(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  if (!result.ok()) return result;
  if (!Address::From(storage, length, out)) return Result::Fail(syscall, EAFNOSUPPORT);
  return Result::Ok();
}

}  // namespace

Result Address::Parse(int family, const char* text, uint16_t port, Address* out) {
  *out = Address();
  out->storage_.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) {
    out->length_ = sizeof(sockaddr_in);
    out->v4()->sin_port = htons(port);
    if (::inet_pton(AF_INET, text, &out->v4()->sin_addr) != 1) return Result::Fail(Syscall::kNone, EINVAL);
    return Result::Ok();
  }
  if (family != AF_INET6) return Result::Fail(Syscall::kNone, EAFNOSUPPORT);
  out->length_ = sizeof(sockaddr_in6);
  out->v6()->sin6_port = htons(port);
  const char* zone = std::strchr(text, '%');
  if (zone == nullptr) {
    if (::inet_pton(AF_INET6, text, &out->v6()->sin6_addr) != 1) return Result::Fail(Syscall::kNone, EINVAL);
    return Result::Ok();
  }
  char ip[INET6_ADDRSTRLEN];
  const size_t length = static_cast<size_t>(zone - text);
  if (length >= sizeof ip) return Result::Fail(Syscall::kNone, EINVAL);
  std::memcpy(ip, text, length);
  ip[length] = '\0';
  if (::inet_pton(AF_INET6, ip, &out->v6()->sin6_addr) != 1) return Result::Fail(Syscall::kNone, EINVAL);
  Result index = ParseZone(zone + 1);
  if (!index.ok()) return index;
  if (HasScope(out->v6()->sin6_addr)) out->v6()->sin6_scope_id = static_cast<uint32_t>(index.value);
  return Result::Ok();
}

bool Address::From(const sockaddr_storage& storage, socklen_t length, Address* out) {
  const bool whole = (storage.ss_family == AF_INET && length >= sizeof(sockaddr_in)) ||
                     (storage.ss_family == AF_INET6 && length >= sizeof(sockaddr_in6));
  if (!whole) return false;
  out->storage_ = storage;
  out->length_ = length;
  return true;
}

uint16_t Address::port() const { return ntohs(family() == AF_INET ? v4()->sin_port : v6()->sin6_port); }

void Address::set_port(uint16_t port) {
  if (family() == AF_INET) {
    v4()->sin_port = htons(port);
  } else {
    v6()->sin6_port = htons(port);
  }
}

uint32_t Address::scope() const { return family() == AF_INET6 ? v6()->sin6_scope_id : 0; }

const uint8_t* Address::ip() const {
  return family() == AF_INET ? reinterpret_cast<const uint8_t*>(&v4()->sin_addr)
                             : reinterpret_cast<const uint8_t*>(&v6()->sin6_addr);
}

bool Address::SameIp(const Address& other) const {
  return family() == other.family() && std::memcmp(ip(), other.ip(), ip_length()) == 0;
}

bool Address::IsUnspecified() const {
  static constexpr uint8_t kNone[16] = {};
  const Address plain = Unmapped();
  return std::memcmp(plain.ip(), kNone, plain.ip_length()) == 0;
}

bool Address::IsLinkLocal() const { return family() == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&v6()->sin6_addr); }

Address Address::Unmapped() const {
  if (family() != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6()->sin6_addr)) return *this;
  sockaddr_storage storage = {};
  auto* mapped = reinterpret_cast<sockaddr_in*>(&storage);
  mapped->sin_family = AF_INET;
  mapped->sin_port = v6()->sin6_port;
  std::memcpy(&mapped->sin_addr, ip() + 12, sizeof mapped->sin_addr);
  Address result;
  From(storage, sizeof *mapped, &result);
  return result;
}

std::string Address::Text() const {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(family(), ip(), text, sizeof text);
  return text;
}

Address ReachedFrom(const Address& local, const Address& remote) {
  if (!remote.IsUnspecified()) return remote;
  const bool own = remote.family() == AF_INET || remote.Unmapped().family() == AF_INET;
  Address reached = local;
  // The text is an address.
  if (!own) static_cast<void>(Address::Parse(AF_INET6, "::1", 0, &reached));
  reached.set_port(remote.port());
  return reached;
}

Result LocalAddress(int fd, Address* out) { return Endpoint(fd, os::Getsockname, Syscall::kGetsockname, out); }

Result PeerAddress(int fd, Address* out) { return Endpoint(fd, os::Getpeername, Syscall::kGetpeername, out); }

}  // namespace connectx
