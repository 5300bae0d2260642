// What is made of a dump while it comes in: counts, ports, and the sockets that hold a port for themselves.
#ifndef CONNECTX_NETLINK_SOCKET_TABLE_H
#define CONNECTX_NETLINK_SOCKET_TABLE_H

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "netlink/diag_dump.h"

namespace connectx {

using PortBits = std::bitset<65536>;

// Distinct ports. Few of them take two bytes each, many 8 KB together.
class PortSet {
 public:
  void Add(uint16_t port);
  // Sorted.
  std::vector<uint16_t> Ports() const;
  uint32_t Count() const;

 private:
  void Compact();

  static constexpr size_t kFew = 2048;
  std::vector<uint16_t> few_;
  std::unique_ptr<PortBits> many_;
};

// An address and a port, as bytes: family, 16 bytes, the port in network byte order.
using Endpoint = std::array<char, 19>;
Endpoint EndpointOf(const Ip& ip, uint16_t port);

// Of 65,536 bits in words of 32, the ports whose bit is set.
PortBits PortsFrom(const std::vector<uint8_t>& bytes);
// The question asks for ports between the lowest and the highest of these only.
void NarrowTo(const PortBits& ports, DumpQuestion* question);
// Endpoints behind one another.
std::unordered_set<std::string> EndpointsFrom(const std::vector<uint8_t>& bytes);

// Bytes for JavaScript to read, of one length each.
using Records = std::vector<uint8_t>;

// Local ports of sockets in one state; state 0: in any but TIME-WAIT, of those that were asked for.
class PortSink : public DumpSink {
 public:
  // `interfaces`: the devices that they may be bound to, 0 for none; nothing named is any.
  PortSink(uint8_t state, std::vector<uint32_t> interfaces) : state_(state), interfaces_(std::move(interfaces)) {}
  void Restart() override { words_.fill(0); }
  void Add(const DumpedSocket& socket) override;
  // 65,536 bits in words of 32, the lowest port in the lowest bit of the first one.
  Records Take() const;

 private:
  uint8_t state_;
  std::vector<uint32_t> interfaces_;
  std::array<uint32_t, 2048> words_ = {};
};

// How many local ports are taken, for each local address, remote address and remote port. The table of the kernel may
// show a socket twice while it changes, and two sockets with one 4-tuple if they are bound to devices: it is distinct
// ports that are counted.
class GroupSink : public DumpSink {
 public:
  // Only these ports, and not on these endpoints; one with the wildcard address is on every address of its family.
  GroupSink(const PortBits& ports, std::vector<uint8_t> except) : ports_(ports), endpoints_(std::move(except)) {}
  void Restart() override;
  void Add(const DumpedSocket& socket) override;
  // Those with the most ports first.
  Records Take();

 private:
  struct Key {
    Ip local;
    Ip remote;
    uint16_t remote_port;
    // The zone, for link-local addresses only.
    uint32_t interface;
    bool operator==(const Key& other) const;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct Group {
    PortSet used;
    PortSet time_wait;
  };

  PortBits ports_;
  std::vector<uint8_t> endpoints_;
  // Made of them by the thread that reads the table, for there may be many.
  std::unordered_set<std::string> except_;
  std::unordered_map<Key, Group, Hash> groups_;
};

// The sockets themselves, for those that listen or are bound and have no remote end.
class HolderSink : public DumpSink {
 public:
  void Restart() override { records_.clear(); }
  void Add(const DumpedSocket& socket) override;
  Records Take() { return std::move(records_); }

 private:
  Records records_;
};

}  // namespace connectx

#endif  // CONNECTX_NETLINK_SOCKET_TABLE_H
