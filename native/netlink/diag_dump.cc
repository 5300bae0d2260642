#include "netlink/diag_dump.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include <cerrno>
#include <cstring>

#include "netlink/message.h"

namespace connectx {
namespace {

constexpr size_t kIpOffsetInMapped = 12;

using Bytes = std::vector<uint8_t>;

template <typename Struct>
void Append(Bytes* bytes, const Struct& value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  bytes->insert(bytes->end(), from, from + sizeof value);
}

// The kernel's filter language (inet_diag_bc_run): each instruction says how far to jump when it holds and when it does
// not; a socket passes when the end is reached exactly, and does not when it is jumped over.
class Filter {
 public:
  void Compare(uint8_t code, uint16_t port) {
    Begin(code, 2 * sizeof(inet_diag_bc_op));
    Append(&bytes_, inet_diag_bc_op{0, 0, port});
  }

  void Match(uint8_t code, const std::optional<Ip>& ip, int port) {
    const size_t length = !ip.has_value() ? 0 : ip->family == AF_INET ? 4 : 16;
    Begin(code, sizeof(inet_diag_bc_op) + sizeof(inet_diag_hostcond) + length);
    inet_diag_hostcond condition = {};
    condition.family = static_cast<uint8_t>(ip.has_value() ? ip->family : AF_UNSPEC);
    condition.prefix_len = static_cast<uint8_t>(8 * length);
    condition.port = port;
    Append(&bytes_, condition);
    if (ip.has_value()) bytes_.insert(bytes_.end(), ip->bytes.begin(), ip->bytes.begin() + length);
  }

  // The last one. The kernel takes only filters of which all conditions, when they hold, lead to the end: so one that
  // must not hold (no device has the index 0) leads to a jump out, which it jumps over when it does not hold.
  void OnDevice() {
    constexpr uint8_t kCondition = sizeof(inet_diag_bc_op) + sizeof(uint32_t);
    constexpr uint8_t kJump = sizeof(inet_diag_bc_op);
    device_.clear();
    Append(&device_, inet_diag_bc_op{INET_DIAG_BC_DEV_COND, kCondition, kCondition + kJump});
    Append(&device_, uint32_t{0});
    Append(&device_, inet_diag_bc_op{INET_DIAG_BC_JMP, kJump, kJump + 4});
  }

  const Bytes& Finish() {
    bytes_.insert(bytes_.end(), device_.begin(), device_.end());
    for (const size_t at : starts_) {
      inet_diag_bc_op op;
      std::memcpy(&op, bytes_.data() + at, sizeof op);
      // 4 bytes beyond the end: the one way to say no.
      op.no = static_cast<uint16_t>(bytes_.size() - at + 4);
      std::memcpy(bytes_.data() + at, &op, sizeof op);
    }
    return bytes_;
  }

 private:
  void Begin(uint8_t code, size_t length) {
    starts_.push_back(bytes_.size());
    Append(&bytes_, inet_diag_bc_op{code, static_cast<uint8_t>(length), 0});
  }

  Bytes bytes_;
  std::vector<size_t> starts_;
  Bytes device_;
};

Bytes EncodeFilter(const DumpQuestion& question) {
  Filter filter;
  if (question.low > 0) filter.Compare(INET_DIAG_BC_S_GE, question.low);
  if (question.high < 65535) filter.Compare(INET_DIAG_BC_S_LE, question.high);
  // A condition on an IPv4 address holds for the IPv4-mapped address of an AF_INET6 socket as well.
  if (question.local.has_value()) filter.Match(INET_DIAG_BC_S_COND, question.local, -1);
  if (question.remote.has_value() || question.remote_port >= 0) {
    filter.Match(INET_DIAG_BC_D_COND, question.remote, question.remote_port);
  }
  if (question.on_device) filter.OnDevice();
  return filter.Finish();
}

constexpr uint8_t kMappedPrefix[kIpOffsetInMapped] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool IsMapped(const uint8_t* bytes) { return std::memcmp(bytes, kMappedPrefix, sizeof kMappedPrefix) == 0; }

Ip IpFrom(int family, const __be32 (&words)[4]) {
  Ip ip;
  ip.family = family;
  std::memcpy(ip.bytes.data(), static_cast<const void*>(words), family == AF_INET ? 4 : 16);
  return ip;
}

Ip Unmapped(const Ip& ip) {
  Ip v4;
  v4.family = AF_INET;
  // The remote end of a socket that has none is ::, and so 0.0.0.0.
  std::memcpy(v4.bytes.data(), ip.bytes.data() + kIpOffsetInMapped, 4);
  return v4;
}

bool IsV6Only(const NetlinkMessage& message) {
  AttributeReader attribute(message, sizeof(inet_diag_msg));
  while (attribute.Next()) {
    if (attribute.type() == INET_DIAG_SKV6ONLY) return attribute.size() > 0 && attribute.data()[0] != 0;
  }
  return false;
}

bool DecodeSocket(const NetlinkMessage& message, DumpedSocket* out) {
  inet_diag_msg body;
  if (message.type != SOCK_DIAG_BY_FAMILY || !message.Read(&body)) return false;
  if (body.idiag_family != AF_INET && body.idiag_family != AF_INET6) return false;
  out->state = body.idiag_state;
  out->local = IpFrom(body.idiag_family, body.id.idiag_src);
  out->remote = IpFrom(body.idiag_family, body.id.idiag_dst);
  if (body.idiag_family == AF_INET6 && IsMapped(out->local.bytes.data())) {
    out->local = Unmapped(out->local);
    out->remote = Unmapped(out->remote);
  }
  out->local_port = ntohs(body.id.idiag_sport);
  out->remote_port = ntohs(body.id.idiag_dport);
  out->interface = body.id.idiag_if;
  out->uid = body.idiag_uid;
  out->inode = body.idiag_inode;
  out->cookie = static_cast<uint64_t>(body.id.idiag_cookie[1]) << 32 | body.id.idiag_cookie[0];
  out->v6_only = body.idiag_family == AF_INET6 && IsV6Only(message);
  return true;
}

// One pass over the sockets of one family.
Result DumpFamily(int fd, const DumpQuestion& question, int family, uint32_t sequence, DumpSink* sink,
                  bool* interrupted) {
  return Dump(fd, EncodeDump(question, family, sequence), interrupted, [&](const uint8_t* bytes, size_t length) {
    return DecodeDump(bytes, length, sequence, sink, interrupted);
  });
}

bool Asks(const DumpQuestion& question, int family) {
  if (question.only_family != 0) return question.only_family == family;
  if (family == AF_INET6) return true;  // IPv4-mapped ones are among them
  const auto is_v6 = [](const std::optional<Ip>& ip) { return ip.has_value() && ip->family == AF_INET6; };
  return !is_v6(question.local) && !is_v6(question.remote);
}

}  // namespace

bool Ip::IsWildcard() const { return bytes == std::array<uint8_t, 16>(); }

bool Ip::IsLinkLocal() const { return family == AF_INET6 && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }

Ip IpOf(const Address& address) {
  Ip ip;
  ip.family = address.family();
  std::memcpy(ip.bytes.data(), address.ip(), address.ip_length());
  return ip.family == AF_INET6 && IsMapped(ip.bytes.data()) ? Unmapped(ip) : ip;
}

Address AddressOf(const Ip& ip, uint16_t port, int family) {
  sockaddr_storage storage = {};
  storage.ss_family = static_cast<sa_family_t>(family);
  Address address;
  if (family == AF_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    v4->sin_port = htons(port);
    std::memcpy(&v4->sin_addr, ip.bytes.data(), sizeof v4->sin_addr);
    Address::From(storage, sizeof *v4, &address);
    return address;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  v6->sin6_port = htons(port);
  if (ip.family == AF_INET) {
    std::memcpy(v6->sin6_addr.s6_addr, kMappedPrefix, sizeof kMappedPrefix);
    std::memcpy(v6->sin6_addr.s6_addr + sizeof kMappedPrefix, ip.bytes.data(), 4);
  } else {
    std::memcpy(&v6->sin6_addr, ip.bytes.data(), sizeof v6->sin6_addr);
  }
  Address::From(storage, sizeof *v6, &address);
  return address;
}

Bytes EncodeDump(const DumpQuestion& question, int family, uint32_t sequence) {
  MessageWriter writer(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, sequence);
  inet_diag_req_v2 body = {};
  body.sdiag_family = static_cast<uint8_t>(family);
  body.sdiag_protocol = question.protocol;
  body.idiag_states = question.states;
  writer.Add(body);
  const Bytes filter = EncodeFilter(question);
  if (!filter.empty()) writer.AddAttribute(INET_DIAG_REQ_BYTECODE, filter.data(), filter.size());
  return writer.Finish();
}

Result DecodeDump(const uint8_t* bytes, size_t length, uint32_t sequence, DumpSink* sink, bool* interrupted) {
  return DecodePart(bytes, length, sequence, interrupted, [sink](const NetlinkMessage& message) {
    DumpedSocket socket;
    if (!DecodeSocket(message, &socket)) return false;
    sink->Add(socket);
    return true;
  });
}

Result DumpSockets(int fd, const DumpQuestion& question, DumpSink* sink) {
  uint32_t sequence = 0;
  return UntilWhole([&](bool* interrupted) {
    sink->Restart();
    for (const int family : {AF_INET, AF_INET6}) {
      if (!Asks(question, family)) continue;
      Result result = DumpFamily(fd, question, family, ++sequence, sink, interrupted);
      // Without IPv6 in the kernel there is nobody to ask for it (__sock_diag_cmd), and no socket of it.
      if (result.error == ENOENT && family == AF_INET6) continue;
      if (!result.ok() || *interrupted) return result;
    }
    return Result::Ok();
  });
}

}  // namespace connectx
