// TCP: unpack, call, answer.
#include <cerrno>
#include <optional>

#include "address.h"
#include "napi/arguments.h"
#include "napi/environment.h"
#include "tcp/device_conflict.h"
#include "tcp/port_release.h"
#include "tcp/prepare.h"
#include "tcp/search.h"
#include "tcp/time_wait.h"

namespace connectx {
namespace {

Result ReadTcpSettings(const Napi::Value& value, TcpPlan* plan) {
  if (!value.IsObject()) return Result::Ok();
  Napi::Object settings = value.As<Napi::Object>();
  plan->fast_open = Flag(Property(settings, "fastOpen"));
  return ReadSettings(settings, &plan->options);
}

// tcpPrepare(family, source | null [, port, low, high, settings | null, over]) -> fd
Napi::Value TcpPrepareJs(const Napi::CallbackInfo& info) {
  TcpPlan plan;
  plan.family = Int(info, 0);
  // Mostly there are no more, and to look at each would take as long as to parse the address.
  const bool has_more = info.Length() > 2;
  if (has_more) plan.port = Port(info, 2);
  Result parsed = OptionalAddressArgument(info, 1, plan.family, plan.port, &plan.source);
  if (!parsed.ok()) return ToJs(info, parsed);
  if (has_more) {
    plan.low = Port(info, 3);
    plan.high = Port(info, 4);
    parsed = ReadTcpSettings(info[5], &plan);
    if (!parsed.ok()) return ToJs(info, parsed);
    if (info.Length() > 6) plan.over = Int(info, 6);
  }
  return ToJs(info, TcpPrepare(plan));
}

// tcpCheck(fd, family, source | null, low, high, remoteAddress, remotePort, peer) -> verdict; Answer::kPort
Napi::Value TcpCheckJs(const Napi::CallbackInfo& info) {
  const int family = Int(info, 1);
  std::optional<Address> source;
  Result parsed = OptionalAddressArgument(info, 2, family, 0, &source);
  if (!parsed.ok()) return ToJs(info, parsed);
  Address remote;
  parsed = AddressArgument(info, 5, family, Port(info, 6), &remote);
  if (!parsed.ok()) return ToJs(info, parsed);
  const bool peer = Flag(info[7]);
  NamespaceSockets* sockets = &EnvironmentOf(info)->tcp;
  uint16_t port = 0;
  const Result result = TcpCheck(sockets, Int(info, 0), source, Port(info, 3), Port(info, 4), remote, peer, &port);
  Tell(info, Answer::kPort, port);
  return ToJs(info, result);
}

Napi::Value TcpFeaturesJs(const Napi::CallbackInfo& info) { return ToJs(info, TcpFeatures()); }

// tcpReturnsPorts(low, high) -> 1 or 0
Napi::Value TcpReturnsPortsJs(const Napi::CallbackInfo& info) {
  return ToJs(info, TcpReturnsPorts(Port(info, 0), Port(info, 1)));
}

// tcpPin(family, source | null, port, settings | null, over) -> fd; Answer::kAssigned
Napi::Value TcpPinJs(const Napi::CallbackInfo& info) {
  TcpPlan plan;
  plan.family = Int(info, 0);
  Result parsed = OptionalAddressArgument(info, 1, plan.family, 0, &plan.source);
  if (!parsed.ok()) return ToJs(info, parsed);
  parsed = ReadTcpSettings(info[3], &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  plan.over = Int(info, 4);
  bool assigned = false;
  const Result result = TcpPin(&EnvironmentOf(info)->tcp, plan, Port(info, 2), &assigned);
  Tell(info, Answer::kAssigned, assigned ? 1 : 0);
  return ToJs(info, result);
}

// tcpHeldWithOtherDevice(fd, family, local, localPort, remote, remotePort, interface, known) -> 0 or 1
Napi::Value TcpHeldWithOtherDeviceJs(const Napi::CallbackInfo& info) {
  Address local;
  Address remote;
  Result result = TupleArgument(info, 2, Int(info, 1), &local, &remote);
  if (!result.ok()) return ToJs(info, result);
  const auto interface = static_cast<uint32_t>(Int(info, 6));
  NamespaceSockets* sockets = &EnvironmentOf(info)->tcp;
  return ToJs(info, HeldWithOtherDevice(sockets, Int(info, 0), local, remote, interface, Flag(info[7])));
}

// countTimeWait(fd, family, local, remote, remotePort, low, high, start) -> found; Answer::kLooked
Napi::Value CountTimeWaitJs(const Napi::CallbackInfo& info) {
  Address local;
  Address remote;
  Result result = EndsArgument(info, 2, Int(info, 1), &local, &remote);
  if (!result.ok()) return ToJs(info, result);
  PortSpan span;
  span.low = Port(info, 5);
  span.high = Port(info, 6);
  int looked = 0;
  result = CountTimeWait(&EnvironmentOf(info)->tcp, Int(info, 0), local, remote, span, Uint(info, 7), &looked);
  Tell(info, Answer::kLooked, looked);
  return ToJs(info, result);
}

// tcpBindFirst(fd, family, local, ports, start, count) -> how many were passed over; Answer::kDenied
Napi::Value TcpBindFirstJs(const Napi::CallbackInfo& info) {
  Address local;
  Result result = AddressArgument(info, 2, Int(info, 1), 0, &local);
  if (!result.ok()) return ToJs(info, result);
  PortCircle circle;
  napi_typedarray_type type = napi_uint8_array;
  void* data = nullptr;
  const napi_status status =
      napi_get_typedarray_info(info.Env(), info[3], &type, &circle.size, &data, nullptr, nullptr);
  if (status != napi_ok || type != napi_uint16_array || circle.size == 0) {
    return ToJs(info, Result::Fail(Syscall::kBind, EINVAL));
  }
  circle.ports = static_cast<const uint16_t*>(data);
  circle.start = Uint(info, 4);
  circle.count = Uint(info, 5);
  bool denied = false;
  result = BindFirst(Int(info, 0), local, circle, &denied);
  Tell(info, Answer::kDenied, denied ? 1 : 0);
  return ToJs(info, result);
}

// tcpTupleState(family, local, localPort, remote, remotePort) -> state, 0 for nobody
Napi::Value TcpTupleStateJs(const Napi::CallbackInfo& info) {
  Address local;
  Address remote;
  Result result = TupleArgument(info, 1, Int(info, 0), &local, &remote);
  if (!result.ok()) return ToJs(info, result);
  return ToJs(info, TupleState(&EnvironmentOf(info)->tcp, local, remote));
}

// tcpEndTimeWait(family, local, localPort, remote, remotePort) -> 0 or 1
Napi::Value TcpEndTimeWaitJs(const Napi::CallbackInfo& info) {
  Address local;
  Address remote;
  Result result = TupleArgument(info, 1, Int(info, 0), &local, &remote);
  if (!result.ok()) return ToJs(info, result);
  return ToJs(info, EndTimeWait(&EnvironmentOf(info)->tcp, local, remote));
}

// tcpNamespace() -> what tells the thread's network namespace from others; 0: unknown. Questions that are not about a
// descriptor are asked there from now on.
Napi::Value TcpNamespaceJs(const Napi::CallbackInfo& info) {
  // A socket of any family tells the namespace; this one is always there.
  Result opened = os::Socket(AF_UNIX, SOCK_DGRAM, 0);
  if (!opened.ok()) return ToJs(info, opened);
  const Fd fd(opened.value);
  NamespaceSockets* sockets = &EnvironmentOf(info)->tcp;
  static_cast<void>(sockets->MovedTo(fd.get()));
  return Napi::Number::New(info.Env(), static_cast<double>(sockets->namespace_cookie));
}

}  // namespace

void AddTcp(Napi::Object* exports, Napi::Object* constants) {
  Add(exports, "tcpPrepare", TcpPrepareJs);
  Add(exports, "tcpCheck", TcpCheckJs);
  Add(exports, "tcpFeatures", TcpFeaturesJs);
  Add(exports, "tcpReturnsPorts", TcpReturnsPortsJs);
  Add(exports, "tcpPin", TcpPinJs);
  Add(exports, "tcpHeldWithOtherDevice", TcpHeldWithOtherDeviceJs);
  Add(exports, "countTimeWait", CountTimeWaitJs);
  Add(exports, "tcpBindFirst", TcpBindFirstJs);
  Add(exports, "tcpTupleState", TcpTupleStateJs);
  Add(exports, "tcpEndTimeWait", TcpEndTimeWaitJs);
  Add(exports, "tcpNamespace", TcpNamespaceJs);
  AddConstants(constants, "verdict",
               {{"asAsked", TcpVerdict::kAsAsked},
                {"selfConnected", TcpVerdict::kSelfConnected},
                {"otherAddress", TcpVerdict::kOtherAddress},
                {"otherPort", TcpVerdict::kOtherPort},
                {"rewritten", TcpVerdict::kRewritten},
                {"peerUnknown", TcpVerdict::kPeerUnknown}});
  AddConstants(constants, "tcpFeature",
               {{"bindAddressNoPort", kBindAddressNoPort},
                {"localPortRange", kLocalPortRange},
                {"fastOpenConnect", kFastOpenConnect}});
}

}  // namespace connectx
