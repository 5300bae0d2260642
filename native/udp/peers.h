// Who a batch of sockets has heard, each with a number. Their count is bounded, because anybody can invent senders.
#ifndef CONNECTX_UDP_PEERS_H
#define CONNECTX_UDP_PEERS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "address.h"
#include "udp/slots.h"

namespace connectx {

// The address of a sender as recvmsg(2) wrote it, in a fifth of what sockaddr_storage takes.
struct Name {
  union {
    sockaddr base;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };

  Name() : v6() {}
  static Name Of(const Address& address);

  socklen_t length() const { return base.sa_family == AF_INET ? sizeof v4 : sizeof v6; }
  bool IsWhole(socklen_t written) const;
  // Port and IP; the flow label and, as a socket has its own, the scope do not count.
  bool IsSameEnd(const Name& other) const;
  Address ToAddress() const;
};

struct Peer {
  uint32_t socket = 0;
  Name name;
  // It stays until its socket is closed.
  bool is_kept = false;
  // Since the hand of the clock last came by.
  bool is_used = true;
  // Segments of this size or more were refused; until this time, in ms, they go one by one.
  uint32_t refused_size = 0;
  uint64_t refused_until = 0;
  // The last run of the turn that began with a datagram of this peer.
  uint64_t turn = 0;
  uint32_t head = 0;
};

class Peers {
 public:
  // `most`: so many senders are remembered beside those that are kept. `seed`: no stranger knows it, and so none can
  // choose senders that make the table slow.
  void Limit(size_t most, uint64_t seed);

  Peer* Get(uint32_t id) { return slots_.Get(id); }
  // 0: there is no room.
  uint32_t Keep(uint32_t socket, const Name& name);
  // The id of this sender, which is new, or known. Where there are too many, one that was not used for a while goes.
  uint32_t Intern(uint32_t socket, const Name& name);
  void Remove(uint32_t id);
  // All that were heard by this socket.
  void RemoveOf(uint32_t socket);

  size_t count() const { return slots_.count(); }
  uint64_t evicted() const { return evicted_; }

 private:
  struct Key {
    uint32_t socket;
    Name name;
    bool operator==(const Key& other) const;
  };
  struct Hash {
    uint64_t seed;
    size_t operator()(const Key& key) const;
  };

  void EvictOne();

  Slots<Peer> slots_;
  std::unordered_map<Key, uint32_t, Hash> heard_{0, Hash{0}};
  size_t most_ = 0;
  size_t hand_ = 0;
  uint64_t evicted_ = 0;
};

}  // namespace connectx

#endif  // CONNECTX_UDP_PEERS_H
