#include "tcp/time_wait.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>

#include "netlink/sock_diag.h"

namespace connectx {

Result CountTimeWait(NamespaceSockets* sockets, int fd, const Address& local, const Address& remote, PortSpan span,
                     uint32_t start, int* looked) {
  sockets->MovedTo(fd);
  const uint32_t ports = static_cast<uint32_t>(span.high) - span.low + 1;
  const uint32_t samples = std::min<uint32_t>(ports, kTimeWaitSamples);
  DiagQuery query;
  query.protocol = IPPROTO_TCP;
  query.local = local;
  query.remote = remote;
  int found = 0;
  for (uint32_t i = 0; i < samples; i++) {
    const uint64_t place = (static_cast<uint64_t>(ports) * i / samples + start) % ports;
    query.local.set_port(static_cast<uint16_t>(span.low + place));
    DiagAnswer answer;
    Result result = sockets->diag.Ask(query, &answer);
    if (!result.ok()) return result;
    if (answer.found && answer.state == TCP_TIME_WAIT) found++;
  }
  *looked = static_cast<int>(samples);
  return Result::Ok(found);
}

namespace {

DiagQuery QueryOf(const Address& local, const Address& remote) {
  DiagQuery query;
  query.protocol = IPPROTO_TCP;
  query.local = local;
  query.remote = ReachedFrom(local, remote);
  return query;
}

}  // namespace

Result TupleState(NamespaceSockets* sockets, const Address& local, const Address& remote) {
  DiagAnswer answer;
  const Result result = sockets->diag.Ask(QueryOf(local, remote), &answer);
  // Nobody is connected: the answer is about who listens on the port.
  if (result.ok() && answer.state == TCP_LISTEN) return Result::Ok(0);
  return result.ok() ? Result::Ok(answer.state) : result;
}

Result EndTimeWait(NamespaceSockets* sockets, const Address& local, const Address& remote) {
  const DiagQuery query = QueryOf(local, remote);
  DiagAnswer answer;
  const Result result = sockets->diag.Ask(query, &answer);
  if (!result.ok()) return result;
  if (!answer.found || answer.state != TCP_TIME_WAIT) return Result::Ok(0);
  return sockets->diag.Destroy(query, answer.cookie);
}

}  // namespace connectx
