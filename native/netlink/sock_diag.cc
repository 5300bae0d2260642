#include "netlink/sock_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

#include "netlink/message.h"

// Kernel headers older than the running kernel lack this number; it is ABI and does not change.
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71  // Linux 5.14
#endif

namespace connectx {
namespace {

struct Request {
  nlmsghdr header;
  inet_diag_req_v2 body;
};
static_assert(sizeof(Request) == kDiagQuerySize, "the kernel's structs leave no gap here");

void PutIp(__be32 (&words)[4], const Address& address) {
  std::memcpy(static_cast<void*>(words), address.ip(), address.ip_length());
}

// The bytes of a socket's address, as those of the family of the question.
const uint8_t* BytesAs(int family, uint8_t found, const std::array<uint8_t, 16>& ip) {
  if (found == family) return ip.data();
  in6_addr mapped;
  std::memcpy(&mapped, ip.data(), sizeof mapped);
  const bool is_mapped = found == AF_INET6 && (IN6_IS_ADDR_V4MAPPED(&mapped) || IN6_IS_ADDR_UNSPECIFIED(&mapped));
  return is_mapped ? ip.data() + 12 : nullptr;
}

}  // namespace

std::array<uint8_t, kDiagQuerySize> EncodeDiagQuery(const DiagQuery& query, uint32_t sequence) {
  Request request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  // Without NLM_F_DUMP the kernel looks up exactly one socket, by all of the id.
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.header.nlmsg_seq = sequence;
  request.body.sdiag_family = static_cast<uint8_t>(query.local.family());
  request.body.sdiag_protocol = query.protocol;
  request.body.idiag_states = ~0U;
  // For UDP "src and dst are swapped for historical reasons" (udp_dump_one): the source is the remote end, as in a
  // packet that arrives. For TCP they are not.
  const bool swap = query.protocol == IPPROTO_UDP;
  const Address& source = swap ? query.remote : query.local;
  const Address& destination = swap ? query.local : query.remote;
  inet_diag_sockid& id = request.body.id;
  id.idiag_sport = htons(source.port());
  id.idiag_dport = htons(destination.port());
  PutIp(id.idiag_src, source);
  PutIp(id.idiag_dst, destination);
  // A socket with a link-local end is bound to that link.
  const uint32_t scope = query.remote.scope() != 0 ? query.remote.scope() : query.local.scope();
  id.idiag_if = query.interface != 0 ? query.interface : scope;
  id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  std::array<uint8_t, kDiagQuerySize> bytes;
  std::memcpy(bytes.data(), &request, sizeof request);
  return bytes;
}

std::array<uint8_t, kDiagQuerySize> EncodeDiagDestroy(const DiagQuery& query, uint64_t cookie, uint32_t sequence) {
  auto bytes = EncodeDiagQuery(query, sequence);
  Request request;
  std::memcpy(&request, bytes.data(), sizeof request);
  request.header.nlmsg_type = SOCK_DESTROY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.body.id.idiag_cookie[0] = static_cast<uint32_t>(cookie);
  request.body.id.idiag_cookie[1] = static_cast<uint32_t>(cookie >> 32);
  std::memcpy(bytes.data(), &request, sizeof request);
  return bytes;
}

Result DecodeDiagDestroyed(const uint8_t* bytes, size_t length, uint32_t sequence) {
  size_t at = 0;
  NetlinkMessage message;
  if (!NextMessage(bytes, length, &at, &message) || message.sequence != sequence) return BadMessage();
  if (message.type != NLMSG_ERROR) return BadMessage();
  const int error = ErrorOf(message);
  if (error < 0) return BadMessage();
  // ESTALE: another socket has the 4-tuple now.
  if (error == ENOENT || error == ESTALE) return Result::Ok(0);
  return error == 0 ? Result::Ok(1) : Result::Fail(Syscall::kNetlink, error);
}

Result DecodeDiagAnswer(const uint8_t* bytes, size_t length, uint32_t sequence, DiagAnswer* out) {
  *out = DiagAnswer();
  size_t at = 0;
  NetlinkMessage message;
  if (!NextMessage(bytes, length, &at, &message) || message.sequence != sequence) return BadMessage();
  if (message.type == NLMSG_ERROR) {
    const int error = ErrorOf(message);
    if (error == ENOENT) return Result::Ok();
    return error > 0 ? Result::Fail(Syscall::kNetlink, error) : BadMessage();
  }
  inet_diag_msg body;
  if (message.type != SOCK_DIAG_BY_FAMILY || !message.Read(&body)) return BadMessage();
  out->found = true;
  out->state = body.idiag_state;
  out->cookie = static_cast<uint64_t>(body.id.idiag_cookie[1]) << 32 | body.id.idiag_cookie[0];
  // Here nothing is swapped: the destination is the remote end.
  out->family = body.idiag_family;
  out->local_port = ntohs(body.id.idiag_sport);
  std::memcpy(out->local_ip.data(), static_cast<const void*>(body.id.idiag_src), out->local_ip.size());
  out->remote_port = ntohs(body.id.idiag_dport);
  std::memcpy(out->remote_ip.data(), static_cast<const void*>(body.id.idiag_dst), out->remote_ip.size());
  out->interface = body.id.idiag_if;
  out->inode = body.idiag_inode;
  out->uid = body.idiag_uid;
  return Result::Ok();
}

bool DiagAnswer::IsConnectedTo(const Address& remote) const {
  if (!found || state != kEstablished || remote_port != remote.port()) return false;
  const uint8_t* ip = BytesAs(remote.family(), family, remote_ip);
  return ip != nullptr && std::memcmp(ip, remote.ip(), remote.ip_length()) == 0;
}

bool DiagAnswer::IsAt(const Address& local) const {
  static constexpr uint8_t kEvery[16] = {};
  if (!found || local_port != local.port()) return false;
  const uint8_t* ip = BytesAs(local.family(), family, local_ip);
  if (ip == nullptr) return false;
  return std::memcmp(ip, local.ip(), local.ip_length()) == 0 || std::memcmp(ip, kEvery, local.ip_length()) == 0;
}

Result SockDiag::Ask(const DiagQuery& query, DiagAnswer* out) {
  return socket_.Execute([&](uint32_t sequence) { return EncodeDiagQuery(query, sequence); },
                         [out](const uint8_t* bytes, size_t length, uint32_t sequence) {
                           return DecodeDiagAnswer(bytes, length, sequence, out);
                         });
}

Result SockDiag::AskAll(const std::vector<DiagQuery>& queries, std::vector<DiagAnswer>* out) {
  out->resize(queries.size());
  Result result = socket_.ExecuteAll(
      queries.size(), [&](size_t index, uint32_t sequence) { return EncodeDiagQuery(queries[index], sequence); },
      [out](size_t index, const uint8_t* bytes, size_t length, uint32_t sequence) {
        return DecodeDiagAnswer(bytes, length, sequence, &(*out)[index]);
      });
  if (result.ok()) return result;
  for (size_t index = 0; index < queries.size(); index++) {
    result = Ask(queries[index], &(*out)[index]);
    if (!result.ok()) return result;
  }
  return result;
}

Result SockDiag::Destroy(const DiagQuery& query, uint64_t cookie) {
  return socket_.Execute([&](uint32_t sequence) { return EncodeDiagDestroy(query, cookie, sequence); },
                         DecodeDiagDestroyed);
}

uint64_t NamespaceCookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  Result result = os::Getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length);
  if (result.ok()) return cookie;
  // On older kernels the inode of the thread's namespace does: a socket is asked about by the thread that made it, and
  // a question's own sockets keep their namespace, and with it the number, from being another's.
  uint64_t inode = 0;
  if (result.error == ENOPROTOOPT && os::Stat("/proc/thread-self/ns/net", &inode).ok()) return inode;
  return 0;
}

Result CookieOf(int fd, uint64_t* out) {
  socklen_t length = sizeof *out;
  return os::Getsockopt(fd, SOL_SOCKET, SO_COOKIE, out, &length);
}

}  // namespace connectx
