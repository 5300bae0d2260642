#include "udp/peers.h"

#include <algorithm>
#include <cstring>

namespace connectx {
namespace {

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t mixed = (a ^ b) * 0x9e3779b97f4a7c15ULL;
  mixed ^= mixed >> 32;
  mixed *= 0xd6e8feb86659fd93ULL;
  return mixed ^ mixed >> 29;
}

}  // namespace

Name Name::Of(const Address& address) {
  Name name;
  std::memcpy(&name.v6, address.get(), std::min<size_t>(address.length(), sizeof name.v6));
  return name;
}

bool Name::IsWhole(socklen_t written) const {
  return (base.sa_family == AF_INET && written >= sizeof v4) || (base.sa_family == AF_INET6 && written >= sizeof v6);
}

bool Name::IsSameEnd(const Name& other) const {
  if (base.sa_family != other.base.sa_family) return false;
  if (base.sa_family == AF_INET) {
    return v4.sin_port == other.v4.sin_port && v4.sin_addr.s_addr == other.v4.sin_addr.s_addr;
  }
  return v6.sin6_port == other.v6.sin6_port &&
         std::memcmp(&v6.sin6_addr, &other.v6.sin6_addr, sizeof v6.sin6_addr) == 0;
}

Address Name::ToAddress() const {
  sockaddr_storage storage = {};
  std::memcpy(&storage, &v6, length());
  Address address;
  Address::From(storage, length(), &address);
  return address;
}

bool Peers::Key::operator==(const Key& other) const {
  return socket == other.socket && name.IsSameEnd(other.name) &&
         (name.base.sa_family == AF_INET || name.v6.sin6_scope_id == other.name.v6.sin6_scope_id);
}

size_t Peers::Hash::operator()(const Key& key) const {
  const Name& name = key.name;
  if (name.base.sa_family == AF_INET) {
    return Mix(Mix(seed, name.v4.sin_addr.s_addr), uint64_t{key.socket} << 16 | name.v4.sin_port);
  }
  uint64_t halves[2];
  std::memcpy(halves, &name.v6.sin6_addr, sizeof halves);
  return Mix(Mix(Mix(seed, halves[0]), halves[1]), uint64_t{key.socket} << 16 | name.v6.sin6_port);
}

void Peers::Limit(size_t most, uint64_t seed) {
  most_ = most;
  heard_ = std::unordered_map<Key, uint32_t, Hash>(0, Hash{seed});
}

uint32_t Peers::Keep(uint32_t socket, const Name& name) {
  Peer peer;
  peer.socket = socket;
  peer.name = name;
  peer.is_kept = true;
  return slots_.Add(peer);
}

uint32_t Peers::Intern(uint32_t socket, const Name& name) {
  const Key key{socket, name};
  const auto known = heard_.find(key);
  if (known != heard_.end()) {
    slots_.Get(known->second)->is_used = true;
    return known->second;
  }
  if (heard_.size() >= most_) EvictOne();
  Peer peer;
  peer.socket = socket;
  peer.name = name;
  const uint32_t id = slots_.Add(peer);
  if (id != 0) heard_.emplace(key, id);
  return id;
}

void Peers::Remove(uint32_t id) {
  const Peer* peer = slots_.Get(id);
  if (peer == nullptr) return;
  if (!peer->is_kept) heard_.erase(Key{peer->socket, peer->name});
  slots_.Remove(id);
}

void Peers::RemoveOf(uint32_t socket) {
  for (size_t place = 0; place < slots_.places(); place++) {
    const uint32_t id = slots_.At(place);
    if (id != 0 && slots_.Get(id)->socket == socket) Remove(id);
  }
}

// The clock algorithm: who was used since the hand came by last has another round. The second round finds one.
void Peers::EvictOne() {
  for (size_t steps = 0; steps < 2 * slots_.places(); steps++) {
    hand_ = (hand_ + 1) % slots_.places();
    const uint32_t id = slots_.At(hand_);
    if (id == 0) continue;
    Peer* peer = slots_.Get(id);
    if (peer->is_kept) continue;
    if (peer->is_used) {
      peer->is_used = false;
      continue;
    }
    Remove(id);
    evicted_++;
    return;
  }
}

}  // namespace connectx
