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

// The device that a socket towards `reached` has: a link-local address binds it to its link.
uint32_t DeviceOfOurs(int fd, const Address& reached, uint32_t interface) {
  if (interface != 0) return interface;
  return reached.scope() != 0 ? reached.scope() : DeviceOf(fd);
}

}  // namespace

Result HeldWithOtherDevice(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote,
                           uint32_t interface, bool known) {
  // It binds its socket to its link: whoever has the same one has the same device, which the kernel minds by itself,
  // and on another link it is another address.
  if (local.IsLinkLocal()) return Result::Ok(0);
  if (!known) sockets->MovedTo(fd);
  const Address reached = ReachedFrom(local, remote);
  Result result = sockets->links.Towards(reached, &sockets->interfaces);
  if (!result.ok()) return result;
  DiagQuery query;
  query.protocol = IPPROTO_TCP;
  query.local = local;
  query.remote = reached;
  // Mostly nobody has the 4-tuple, and then our own device does not matter.
  const auto is_other = [&](const DiagAnswer& answer) {
    // A listener is what a packet would reach if nobody had the 4-tuple. One in TIME-WAIT is nobody's any more.
    if (!answer.found || answer.state == TCP_LISTEN || answer.state == TCP_TIME_WAIT) return false;
    return answer.interface != DeviceOfOurs(fd, reached, interface);
  };
  const std::vector<uint32_t>& interfaces = sockets->interfaces;
  if (interfaces.size() == 1) {
    query.interface = interfaces[0];
    DiagAnswer answer;
    result = sockets->diag.Ask(query, &answer);
    return result.ok() ? Result::Ok(is_other(answer) ? 1 : 0) : result;
  }
  // Many at once: a question costs less than the call that asks it.
  std::vector<DiagQuery> queries;
  std::vector<DiagAnswer> answers;
  for (size_t from = 0; from < interfaces.size(); from += kAtOnce) {
    queries.assign(std::min(kAtOnce, interfaces.size() - from), query);
    for (size_t n = 0; n < queries.size(); n++) queries[n].interface = interfaces[from + n];
    result = sockets->diag.AskAll(queries, &answers);
    if (!result.ok()) return result;
    if (std::any_of(answers.begin(), answers.end(), is_other)) return Result::Ok(1);
  }
  return Result::Ok(0);
}

}  // namespace connectx
