#include "udp/tuple.h"

#include <netinet/in.h>

namespace connectx {
namespace {

// The interfaces whose sockets could overshadow ours. A lookup by index sees sockets that are bound to that device and
// those that are bound to none.
Result Interfaces(NamespaceSockets* sockets, const UdpPlan& plan, const Address& remote) {
  if (plan.interface == 0) return sockets->links.Towards(remote, &sockets->interfaces);
  sockets->interfaces.assign(1, plan.interface);
  return Result::Ok();
}

DiagQuery QueryOf(const UdpPlan& plan) {
  DiagQuery query;
  query.protocol = IPPROTO_UDP;
  // An IPv4-mapped destination lives in the IPv4 table, which an AF_INET6 question is not answered from (udp_dump_one).
  query.local = plan.source.Unmapped();
  query.remote = plan.remote.Unmapped();
  return query;
}

}  // namespace

Result Verdict(UdpVerdict verdict) { return Result::Ok(static_cast<int>(verdict)); }

bool Says(const Result& result, UdpVerdict verdict) { return result.ok() && result.value == static_cast<int>(verdict); }

Result UdpInspect(NamespaceSockets* sockets, const UdpPlan& plan, uint64_t cookie) {
  DiagQuery query = QueryOf(plan);
  Result result = Interfaces(sockets, plan, query.remote);
  if (!result.ok()) return result;
  for (uint32_t interface : sockets->interfaces) {
    query.interface = interface;
    DiagAnswer answer;
    result = sockets->diag.Ask(query, &answer);
    if (!result.ok()) return result;
    if (!answer.found) return Verdict(UdpVerdict::kUnseen);
    if (answer.cookie == cookie) continue;
    return Verdict(answer.IsConnectedTo(query.remote) ? UdpVerdict::kTupleInUse : UdpVerdict::kContended);
  }
  return Verdict(UdpVerdict::kConnected);
}

Result UdpOwner(NamespaceSockets* sockets, const UdpPlan& plan) {
  DiagQuery query = QueryOf(plan);
  Result result = Interfaces(sockets, plan, query.remote);
  if (!result.ok()) return result;
  int state = 0;
  for (uint32_t interface : sockets->interfaces) {
    query.interface = interface;
    DiagAnswer answer;
    result = sockets->diag.Ask(query, &answer);
    if (!result.ok()) return result;
    if (!answer.found || state == kEstablished) continue;
    // Established elsewhere is as good as not connected.
    state = answer.IsConnectedTo(query.remote) ? kEstablished : kClosed;
  }
  return Result::Ok(state);
}

Result UdpOwnerFirst(NamespaceSockets* sockets, const UdpPlan& plan, const SourcePorts& ports) {
  return FirstOf(ports, kEstablished, plan, [sockets](const UdpPlan& one) { return UdpOwner(sockets, one); });
}

}  // namespace connectx
