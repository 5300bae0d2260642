#include "tcp/device_conflict.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <vector>

#include "netlink/sock_diag.h"
#include "socket_options.h"

namespace connectx {
namespace {

// So many answers fit into what a socket may queue.
constexpr size_t kAtOnce = 32;

}  // namespace

Result HeldWithOtherDevice(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote,
                           uint32_t interface) {
  // It binds its socket to its link: whoever has the same one has the same device, which the kernel minds by itself,
  // and on another link it is another address.
  if (local.IsLinkLocal()) return Result::Ok(0);
  if (fd >= 0) sockets->MovedTo(fd);
  const Address reached = ReachedFrom(local, remote);
  Result result = sockets->links.Towards(reached, &sockets->interfaces);
  if (!result.ok()) return result;
  // A link-local address binds its socket to its link.
  uint32_t ours = interface != 0 ? interface : reached.scope();
  if (ours == 0) ours = fd >= 0 ? DeviceOf(fd) : sockets->BornDevice();
  DiagQuery query;
  query.protocol = IPPROTO_TCP;
  query.local = local;
  query.remote = reached;
  // Many at once: a question costs less than the call that asks it.
  std::vector<DiagQuery> queries;
  std::vector<DiagAnswer> answers;
  const std::vector<uint32_t>& interfaces = sockets->interfaces;
  for (size_t from = 0; from < interfaces.size(); from += kAtOnce) {
    queries.assign(std::min(kAtOnce, interfaces.size() - from), query);
    for (size_t n = 0; n < queries.size(); n++) queries[n].interface = interfaces[from + n];
    result = sockets->diag.AskAll(queries, &answers);
    if (!result.ok()) return result;
    for (const DiagAnswer& answer : answers) {
      // A listener is what a packet would reach if nobody had the 4-tuple. One in TIME-WAIT is nobody's any more.
      if (!answer.found || answer.state == TCP_LISTEN || answer.state == TCP_TIME_WAIT) continue;
      if (answer.interface != ours) return Result::Ok(1);
    }
  }
  return Result::Ok(0);
}

}  // namespace connectx
