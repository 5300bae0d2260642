// What the kernel writes for getsockname(2) and recvfrom(2). The first byte is the length that it tells.
#include <algorithm>
#include <cstring>

#include "address.h"
#include "fuzz.h"
#include "netlink/diag_dump.h"

using namespace connectx;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  if (length == 0) return 0;
  sockaddr_storage storage = {};
  std::memcpy(&storage, bytes + 1, std::min(length - 1, sizeof storage));
  const socklen_t told = std::min<socklen_t>(bytes[0], sizeof storage);
  Address address;
  if (!Address::From(storage, told, &address)) return 0;
  MUST(address.family() == AF_INET || address.family() == AF_INET6);
  MUST(address.length() >= (address.family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)));
  Address again;
  MUST(Address::Parse(address.family(), address.Text().c_str(), address.port(), &again).ok());
  MUST(again.SameIp(address) && again.port() == address.port());
  // As the socket table tells of it, and back.
  const Address told_of = AddressOf(IpOf(address), address.port(), address.family());
  MUST(told_of.SameIp(address) && told_of.port() == address.port());
  // Nobody connects to what is unspecified.
  const Address reached = ReachedFrom(address, again);
  MUST(reached.port() == again.port() && (!reached.IsUnspecified() || address.IsUnspecified()));
  return 0;
}
