// Text to an address and back. The first byte says of which family, the next two are the port.
#include <cstring>
#include <string>

#include "address.h"
#include "fuzz.h"

using namespace connectx;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  if (length < 3) return 0;
  const int family = bytes[0] % 2 == 0 ? AF_INET : AF_INET6;
  const auto port = static_cast<uint16_t>(bytes[1] << 8 | bytes[2]);
  const std::string text(reinterpret_cast<const char*>(bytes) + 3, length - 3);
  Address address;
  const Result result = Address::Parse(family, text.c_str(), port, &address);
  if (!result.ok()) {
    MUST(result.error > 0 && result.error < 4096);
    return 0;
  }
  MUST(address.family() == family && address.port() == port);
  MUST(address.length() == (family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)));
  MUST(family == AF_INET6 || address.scope() == 0);
  // A zone is kept of an address that has a scope, and of no other.
  const bool has_zone = text.find('%') < std::strlen(text.c_str());
  const bool link_local = family == AF_INET6 && address.ip()[0] == 0xfe && (address.ip()[1] & 0xc0) == 0x80;
  MUST(address.scope() == 0 || has_zone);
  MUST(!link_local || has_zone == (address.scope() != 0));

  Address again;
  MUST(Address::Parse(family, address.Text().c_str(), port, &again).ok());
  MUST(again.SameIp(address) && again.port() == port && again.Text() == address.Text());

  sockaddr_storage storage = {};
  std::memcpy(&storage, address.get(), address.length());
  MUST(Address::From(storage, address.length(), &again));
  MUST(again.SameIp(address) && again.port() == port && again.scope() == address.scope());
  MUST(!Address::From(storage, address.length() - 1, &again));
  address.set_port(static_cast<uint16_t>(~port));
  MUST(address.port() == static_cast<uint16_t>(~port) && address.SameIp(again));
  return 0;
}
