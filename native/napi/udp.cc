// UDP: unpack, call, answer.
#include <netinet/in.h>

#include <cerrno>

#include "address.h"
#include "napi/arguments.h"
#include "napi/environment.h"
#include "udp/lock.h"
#include "udp/offload.h"
#include "udp/probe.h"
#include "udp/tuple.h"

namespace connectx {
namespace {

NamespaceSockets* UdpSockets(const Napi::CallbackInfo& info) { return &EnvironmentOf(info)->udp; }

enum UdpFlag : int { kShared = 1, kExclusive = 2, kAlone = 4, kAutomatic = 8 };

// The arguments from `first` on: family, source, sourcePort, remote, remotePort, flags, settings | null
Result UdpPlanArgument(const Napi::CallbackInfo& info, size_t first, UdpPlan* plan) {
  Result result = TupleArgument(info, first + 1, Int(info, first), &plan->source, &plan->remote);
  if (!result.ok()) return result;
  const int flags = Int(info, first + 5);
  plan->shared = (flags & kShared) != 0;
  plan->exclusive = (flags & kExclusive) != 0;
  plan->alone = (flags & kAlone) != 0;
  plan->automatic = (flags & kAutomatic) != 0;
  if (!info[first + 6].IsObject()) return Result::Ok();
  result = ReadSettings(info[first + 6].As<Napi::Object>(), &plan->options);
  if (!result.ok()) return result;
  if (plan->options.interface.empty()) return Result::Ok();
  Result index = InterfaceIndex(plan->options.interface);
  if (!index.ok()) return Result::Fail(Syscall::kSetsockopt, ENODEV);
  plan->interface = static_cast<uint32_t>(index.value);
  return Result::Ok();
}

// udpConnect(fd, family, source, sourcePort, remote, remotePort, flags, settings | null) -> verdict
Napi::Value UdpConnectJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  Result parsed = UdpPlanArgument(info, 1, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, UdpConnect(UdpSockets(info), plan, Int(info, 0), &EnvironmentOf(info)->udp_peer));
}

// udpSettle(fd, unlock) -> verdict
Napi::Value UdpSettleJs(const Napi::CallbackInfo& info) {
  return ToJs(info, UdpSettle(UdpSockets(info), Int(info, 0), Flag(info[1])));
}

// udpPeer() -> { family, address, port }: the true peer of the socket that was connected last
Napi::Value UdpPeerJs(const Napi::CallbackInfo& info) { return EndpointToJs(info, EnvironmentOf(info)->udp_peer); }

// udpOwner(family, source, sourcePort, remote, remotePort, flags, settings | null) -> state, 0 for nobody
Napi::Value UdpOwnerJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  Result parsed = UdpPlanArgument(info, 0, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, UdpOwner(UdpSockets(info), plan));
}

// The ports of a Uint16Array, whose memory stays JavaScript's.
bool ReadPorts(const Napi::Value& value, SourcePorts* out) {
  napi_typedarray_type type = napi_uint8_array;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, &type, &out->count, &data, nullptr, nullptr) != napi_ok)
    return false;
  out->ports = static_cast<const uint16_t*>(data);
  return type == napi_uint16_array && out->count > 0;
}

// The memory of a Uint8Array, which stays JavaScript's.
bool WritableBytes(const Napi::Value& value, uint8_t** bytes, size_t* count) {
  napi_typedarray_type type = napi_uint16_array;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, &type, count, &data, nullptr, nullptr) != napi_ok) return false;
  *bytes = static_cast<uint8_t*>(data);
  return type == napi_uint8_array;
}

// udpConnectFirst(fd, family, source, ports, remote, remotePort, flags, settings | null) -> verdict; Answer::kPlace: of
// the first port that is not locked, or of the last
Napi::Value UdpConnectFirstJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  SourcePorts ports;
  Result parsed = UdpPlanArgument(info, 1, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  if (!ReadPorts(info[3], &ports)) return ToJs(info, Result::Fail(Syscall::kBind, EINVAL));
  Address* peer = &EnvironmentOf(info)->udp_peer;
  size_t place = 0;
  const Result result = UdpConnectFirst(UdpSockets(info), plan, ports, Int(info, 0), peer, &place);
  Tell(info, Answer::kPlace, static_cast<int>(place));
  return ToJs(info, result);
}

// udpOwners(family, source, ports, remote, remotePort, states, settings | null) -> 0: the state of the socket that gets
// datagrams of the 4-tuple with each of these ports, into `states`, which has room for them; 0 for nobody
Napi::Value UdpOwnersJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  SourcePorts ports;
  Result parsed = UdpPlanArgument(info, 0, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  uint8_t* states = nullptr;
  size_t count = 0;
  if (!ReadPorts(info[2], &ports) || !WritableBytes(info[5], &states, &count) || count < ports.count) {
    return ToJs(info, Result::Fail(Syscall::kBind, EINVAL));
  }
  return ToJs(info, UdpOwners(UdpSockets(info), plan, ports, states));
}

// udpSocket(family) -> fd, to be adopted at once
Napi::Value UdpSocketJs(const Napi::CallbackInfo& info) {
  return ToJs(info, EnvironmentOf(info)->unadopted.Open(Int(info, 0), SOCK_DGRAM, IPPROTO_UDP));
}

// udpMoved() -> 0 or 1
Napi::Value UdpMovedJs(const Napi::CallbackInfo& info) { return ToJs(info, UdpMoved(UdpSockets(info))); }

Napi::Value UdpProbeJs(const Napi::CallbackInfo& info) { return ToJs(info, UdpProbe()); }

// udpOffloads() -> bits
Napi::Value UdpOffloadsJs(const Napi::CallbackInfo& info) { return ToJs(info, UdpOffloads()); }

}  // namespace

void AddUdp(Napi::Object* exports, Napi::Object* constants) {
  Add(exports, "udpConnect", UdpConnectJs);
  Add(exports, "udpSettle", UdpSettleJs);
  Add(exports, "udpPeer", UdpPeerJs);
  Add(exports, "udpOwner", UdpOwnerJs);
  Add(exports, "udpConnectFirst", UdpConnectFirstJs);
  Add(exports, "udpOwners", UdpOwnersJs);
  Add(exports, "udpSocket", UdpSocketJs);
  Add(exports, "udpMoved", UdpMovedJs);
  Add(exports, "udpProbe", UdpProbeJs);
  Add(exports, "udpOffloads", UdpOffloadsJs);
  AddConstants(constants, "udpVerdict",
               {{"connected", UdpVerdict::kConnected},
                {"portLocked", UdpVerdict::kPortLocked},
                {"tupleInUse", UdpVerdict::kTupleInUse},
                {"contended", UdpVerdict::kContended},
                {"unseen", UdpVerdict::kUnseen},
                {"moved", UdpVerdict::kMoved},
                {"connectedAlone", UdpVerdict::kConnectedAlone},
                {"connectedElsewhere", UdpVerdict::kConnectedElsewhere}});
  AddConstants(constants, "udpFlag",
               {{"shared", kShared}, {"exclusive", kExclusive}, {"alone", kAlone}, {"automatic", kAutomatic}});
  AddConstants(constants, "udpOffload", {{"segment", kUdpSegment}, {"receive", kUdpReceiveOffload}});
}

}  // namespace connectx
