#include "tcp/device_conflict.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "netlink/sock_diag.h"
#include "socket_options.h"

namespace connectx {

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
  for (uint32_t index : sockets->interfaces) {
    query.interface = index;
    DiagAnswer answer;
    result = sockets->diag.Ask(query, &answer);
    if (!result.ok()) return result;
    // A listener is what a packet would reach if nobody had the 4-tuple. One in TIME-WAIT is nobody's any more.
    if (!answer.found || answer.state == TCP_LISTEN || answer.state == TCP_TIME_WAIT) continue;
    if (answer.interface != ours) return Result::Ok(1);
  }
  return Result::Ok(0);
}

}  // namespace connectx
