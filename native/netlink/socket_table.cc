#include "netlink/socket_table.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace connectx {
namespace {

void Put8(Records* records, uint8_t value) { records->push_back(value); }

template <typename Integer>
void Put(Records* records, Integer value) {
  // In the byte order of the machine: a typed view or DataView of the same process reads it.
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
  records->insert(records->end(), bytes, bytes + sizeof value);
}

// Its length, and 63 bytes: the text is made here and not in JavaScript, because here no event loop waits for it.
void PutText(Records* records, const Ip& ip, uint32_t zone) {
  char text[64] = {};
  inet_ntop(ip.family, ip.bytes.data(), text, INET6_ADDRSTRLEN);
  std::string whole = text;
  if (zone != 0) whole += "%" + std::to_string(zone);
  Put8(records, static_cast<uint8_t>(whole.size()));
  whole.resize(63);
  records->insert(records->end(), whole.begin(), whole.end());
}

uint32_t ZoneOf(const DumpedSocket& socket) {
  return socket.local.IsLinkLocal() || socket.remote.IsLinkLocal() ? socket.interface : 0;
}

uint8_t FamilyNumber(const Ip& ip) { return ip.family == AF_INET ? 4 : 6; }

}  // namespace

void PortSet::Add(uint16_t port) {
  if (many_ != nullptr) {
    many_->set(port);
    return;
  }
  few_.push_back(port);
  if (few_.size() == kFew) Compact();
}

void PortSet::Compact() {
  many_ = std::make_unique<PortBits>();
  for (const uint16_t port : few_) many_->set(port);
  few_ = {};
}

std::vector<uint16_t> PortSet::Ports() const {
  std::vector<uint16_t> ports = few_;
  if (many_ != nullptr) {
    for (size_t port = 0; port < many_->size(); port++) {
      if (many_->test(port)) ports.push_back(static_cast<uint16_t>(port));
    }
    return ports;
  }
  std::sort(ports.begin(), ports.end());
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  return ports;
}

uint32_t PortSet::Count() const { return static_cast<uint32_t>(many_ != nullptr ? many_->count() : Ports().size()); }

Endpoint EndpointOf(const Ip& ip, uint16_t port) {
  Endpoint endpoint = {};
  endpoint[0] = static_cast<char>(FamilyNumber(ip));
  std::memcpy(endpoint.data() + 1, ip.bytes.data(), ip.bytes.size());
  endpoint[17] = static_cast<char>(port >> 8);
  endpoint[18] = static_cast<char>(port & 255);
  return endpoint;
}

PortBits PortsFrom(const std::vector<uint8_t>& bytes) {
  std::array<uint32_t, 2048> words = {};
  std::copy_n(bytes.begin(), std::min(bytes.size(), sizeof words), reinterpret_cast<uint8_t*>(words.data()));
  PortBits ports;
  for (size_t port = 0; port < ports.size(); port++) {
    if ((words[port / 32] >> (port % 32) & 1) != 0) ports.set(port);
  }
  return ports;
}

void NarrowTo(const PortBits& ports, DumpQuestion* question) {
  if (ports.none()) return;
  while (!ports.test(question->low)) question->low++;
  while (!ports.test(question->high)) question->high--;
}

std::unordered_set<std::string> EndpointsFrom(const std::vector<uint8_t>& bytes) {
  std::unordered_set<std::string> endpoints;
  constexpr size_t kSize = std::tuple_size<Endpoint>::value;
  for (size_t at = 0; at + kSize <= bytes.size(); at += kSize) {
    endpoints.emplace(reinterpret_cast<const char*>(bytes.data()) + at, kSize);
  }
  return endpoints;
}

void PortSink::Add(const DumpedSocket& socket) {
  if (state_ == 0 ? socket.state == kTimeWait : socket.state != state_) return;
  const auto found = std::find(interfaces_.begin(), interfaces_.end(), socket.interface);
  if (interfaces_.empty() || found != interfaces_.end()) {
    words_[socket.local_port / 32] |= uint32_t{1} << (socket.local_port % 32);
  }
}

Records PortSink::Take() const {
  const auto* bytes = reinterpret_cast<const uint8_t*>(words_.data());
  return Records(bytes, bytes + sizeof words_);
}

void GroupSink::Restart() {
  groups_.clear();
  if (except_.empty()) except_ = EndpointsFrom(endpoints_);
}

bool GroupSink::Key::operator==(const Key& other) const {
  return remote_port == other.remote_port && interface == other.interface && local.family == other.local.family &&
         local.bytes == other.local.bytes && remote.bytes == other.remote.bytes;
}

size_t GroupSink::Hash::operator()(const Key& key) const {
  const auto hash = [](const Ip& ip) {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(ip.bytes.data()), ip.bytes.size()});
  };
  return (hash(key.local) * 31 + hash(key.remote)) * 31 + key.remote_port;
}

void GroupSink::Add(const DumpedSocket& socket) {
  if (!ports_.test(socket.local_port)) return;
  if (!except_.empty()) {
    Ip wildcard;
    wildcard.family = socket.local.family;
    for (const Ip& ip : {socket.local, wildcard}) {
      const Endpoint endpoint = EndpointOf(ip, socket.local_port);
      if (except_.count(std::string(endpoint.data(), endpoint.size())) != 0) return;
    }
  }
  Group& group = groups_[Key{socket.local, socket.remote, socket.remote_port, ZoneOf(socket)}];
  group.used.Add(socket.local_port);
  if (socket.state == kTimeWait) group.time_wait.Add(socket.local_port);
}

// used u32, timeWait u32, remotePort u16, family u8, 0, local text, remote text
Records GroupSink::Take() {
  struct Counted {
    Key key;
    uint32_t used;
    uint32_t time_wait;
  };
  std::vector<Counted> counted;
  counted.reserve(groups_.size());
  for (const auto& [key, group] : groups_) counted.push_back({key, group.used.Count(), group.time_wait.Count()});
  groups_.clear();
  std::stable_sort(counted.begin(), counted.end(), [](const Counted& a, const Counted& b) { return a.used > b.used; });
  Records records;
  for (const Counted& one : counted) {
    const auto zone = [&](const Ip& ip) { return ip.IsLinkLocal() ? one.key.interface : 0; };
    Put(&records, one.used);
    Put(&records, one.time_wait);
    Put(&records, one.key.remote_port);
    Put8(&records, FamilyNumber(one.key.local));
    Put8(&records, 0);
    PutText(&records, one.key.local, zone(one.key.local));
    PutText(&records, one.key.remote, zone(one.key.remote));
  }
  return records;
}

// inode u32, uid u32, port u16, family u8, state u8, v6only u8, endpoint (19 bytes), text
void HolderSink::Add(const DumpedSocket& socket) {
  Put(&records_, socket.inode);
  Put(&records_, socket.uid);
  Put(&records_, socket.local_port);
  Put8(&records_, FamilyNumber(socket.local));
  Put8(&records_, socket.state);
  Put8(&records_, socket.v6_only ? 1 : 0);
  const Endpoint endpoint = EndpointOf(socket.local, socket.local_port);
  records_.insert(records_.end(), endpoint.begin(), endpoint.end());
  PutText(&records_, socket.local, socket.local.IsLinkLocal() ? socket.interface : 0);
}

}  // namespace connectx
