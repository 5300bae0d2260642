// The network interfaces of this namespace, kept up to date by the kernel's own announcements (rtnetlink(7),
// RTMGRP_LINK), so that asking costs one system call.
#ifndef CONNECTX_NETLINK_LINKS_H
#define CONNECTX_NETLINK_LINKS_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "address.h"
#include "os.h"

namespace connectx {

// Adds the interface indexes of one buffer of an RTM_GETLINK dump. value is 1 when the dump is over; `interrupted` is
// set (and never cleared) when interfaces came or went meanwhile, so that one may be missing (NLM_F_DUMP_INTR).
Result DecodeLinks(const uint8_t* bytes, size_t length, uint32_t sequence, std::vector<uint32_t>* out,
                   bool* interrupted);

class Links {
 public:
  // The interfaces on which a packet from `remote` can arrive: never none.
  Result Towards(const Address& remote, std::vector<uint32_t>* out);
  // All of them. A list that is interrupted is asked for again; after some of them in a row the error is EINTR.
  Result List(std::vector<uint32_t>* out);
  void Close();

 private:
  Result Update();

  Fd watch_;
  std::vector<uint32_t> links_;
};

// The devices, 0 for none, that a socket of the protocol may be bound to if it stands in the way of a connection to
// `remote`; nothing named is any. A UDP socket with another device gets no datagram of this peer.
Result DevicesTowards(Links* links, uint8_t protocol, const Address& remote, std::vector<uint32_t>* out);

}  // namespace connectx

#endif  // CONNECTX_NETLINK_LINKS_H
