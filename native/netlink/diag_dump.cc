#include "netlink/diag_dump.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include <cerrno>
#include <cstring>

#include "netlink/message.h"

namespace connectx {
namespace {

constexpr int kAttempts = 8;
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

  const Bytes& Finish() {
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
  return filter.Finish();
}

bool IsMapped(const uint8_t* bytes) {
  static constexpr uint8_t kPrefix[kIpOffsetInMapped] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(bytes, kPrefix, sizeof kPrefix) == 0;
}

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

bool IsV6Only(const uint8_t* attributes, size_t length) {
  nlattr attribute;
  for (size_t at = 0; at < length && length - at >= sizeof attribute;) {
    std::memcpy(&attribute, attributes + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > length - at) return false;
    if (attribute.nla_type == INET_DIAG_SKV6ONLY && attribute.nla_len > sizeof attribute) {
      return attributes[at + sizeof attribute] != 0;
    }
    at += NLA_ALIGN(static_cast<size_t>(attribute.nla_len));
  }
  return false;
}

bool DecodeSocket(const NetlinkMessage& message, DumpedSocket* out) {
  inet_diag_msg body;
  if (message.type != SOCK_DIAG_BY_FAMILY || message.length < sizeof body) return false;
  std::memcpy(&body, message.payload, sizeof body);
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
  out->v6_only = body.idiag_family == AF_INET6 && IsV6Only(message.payload + sizeof body, message.length - sizeof body);
  return true;
}

// One pass over the sockets of one family.
Result DumpFamily(int fd, const DumpQuestion& question, int family, uint32_t sequence, DumpSink* sink,
                  bool* interrupted) {
  const Bytes request = EncodeDump(question, family, sequence);
  Result result = os::Send(fd, request.data(), request.size());
  if (!result.ok()) return result;
  Bytes buffer(32768);  // the kernel fills at most this much at once (netlink_dump)
  int overruns = 0;
  do {
    // The kernel has written the next part before recv(2) returns this one, so that this never has to wait.
    result = os::Recv(fd, buffer.data(), buffer.size());
    if (result.error == ENOBUFS && overruns++ < kAttempts) {
      // Something was lost, and the dump goes on: to its end, or the next one would be EBUSY.
      *interrupted = true;
      result = Result::Ok(0);
      continue;
    }
    if (!result.ok()) return result;
    // Nothing at all is no part of a list.
    if (result.value == 0 || static_cast<size_t>(result.value) > buffer.size()) return BadMessage();
    result = DecodeDump(buffer.data(), static_cast<size_t>(result.value), sequence, sink, interrupted);
    if (!result.ok()) return result;
  } while (result.value == 0);
  return Result::Ok();
}

bool Asks(const DumpQuestion& question, int family) {
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

Bytes EncodeDump(const DumpQuestion& question, int family, uint32_t sequence) {
  const Bytes filter = EncodeFilter(question);
  nlmsghdr header = {};
  header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header.nlmsg_seq = sequence;
  inet_diag_req_v2 body = {};
  body.sdiag_family = static_cast<uint8_t>(family);
  body.sdiag_protocol = question.protocol;
  body.idiag_states = question.states;
  header.nlmsg_len = sizeof header + sizeof body;
  if (!filter.empty()) header.nlmsg_len += static_cast<uint32_t>(sizeof(nlattr) + filter.size());
  Bytes bytes;
  Append(&bytes, header);
  Append(&bytes, body);
  if (filter.empty()) return bytes;
  // All instructions are multiples of 4 bytes: no padding.
  Append(&bytes, nlattr{static_cast<uint16_t>(sizeof(nlattr) + filter.size()), INET_DIAG_REQ_BYTECODE});
  bytes.insert(bytes.end(), filter.begin(), filter.end());
  return bytes;
}

Result DecodeDump(const uint8_t* bytes, size_t length, uint32_t sequence, DumpSink* sink, bool* interrupted) {
  size_t at = 0;
  NetlinkMessage message;
  while (NextMessage(bytes, length, &at, &message)) {
    if (message.sequence != sequence) return BadMessage();
    if ((message.flags & NLM_F_DUMP_INTR) != 0) *interrupted = true;
    if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) {
      // The end of a dump carries an errno too (netlink_dump_done), 0 for a dump that is complete.
      const int error = ErrorOf(message);
      if (error > 0) return Result::Fail(Syscall::kNetlink, error);
      return error == 0 && message.type == NLMSG_DONE ? Result::Ok(1) : BadMessage();
    }
    DumpedSocket socket;
    if (!DecodeSocket(message, &socket)) return BadMessage();
    sink->Add(socket);
  }
  return at < length ? BadMessage() : Result::Ok(0);
}

Result Dump(int fd, const DumpQuestion& question, DumpSink* sink) {
  uint32_t sequence = 0;
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    sink->Restart();
    bool interrupted = false;
    for (const int family : {AF_INET, AF_INET6}) {
      if (!Asks(question, family)) continue;
      Result result = DumpFamily(fd, question, family, ++sequence, sink, &interrupted);
      // Without IPv6 in the kernel there is nobody to ask for it (__sock_diag_cmd), and no socket of it.
      if (result.error == ENOENT && family == AF_INET6) continue;
      if (!result.ok()) return result;
      if (interrupted) break;
    }
    if (!interrupted) return Result::Ok();
  }
  return Result::Fail(Syscall::kNetlink, EINTR);
}

}  // namespace connectx
