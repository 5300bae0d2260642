// The only file that sees N-API (but for background.h): unpack, call, answer. Arguments arrive complete and validated
// from src/kernel/addon.ts; what is checked here is only what memory safety needs. All state belongs to an environment,
// so worker threads may load the addon again.
//
// A system call's outcome crosses as one number: the value, or -(errno + 4096 * index in `syscalls`). It costs no
// allocation, and the one place that turns it into an Error is src/errors/connectx_error.ts.

// worker.terminate() can come while a call is under way: from then on every Node-API call that could run JavaScript
// fails, and no exception can be thrown any more. Without this, node-addon-api ends the whole process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <linux/filter.h>
#include <napi.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "address.h"
#include "napi/background.h"
#include "napi/unadopted_socket.h"
#include "netlink/diag_dump.h"
#include "netlink/message.h"
#include "netlink/namespace_sockets.h"
#include "netlink/route.h"
#include "netlink/sock_diag.h"
#include "netlink/socket_table.h"
#include "os.h"
#include "socket_options.h"
#include "tcp/device_conflict.h"
#include "tcp/pin.h"
#include "tcp/prepare.h"
#include "tcp/time_wait.h"
#include "udp/lock.h"

namespace connectx {
namespace {

constexpr int kErrnoLimit = 4096;  // MAX_ERRNO of the kernel is 4095

int Pack(const Result& result) {
  if (result.ok()) return result.value;
  return -(result.error + kErrnoLimit * static_cast<int>(result.syscall));
}

Napi::Value ToJs(const Napi::CallbackInfo& info, const Result& result) {
  return Napi::Number::New(info.Env(), Pack(result));
}

// A thread that is being terminated may run no JavaScript, and to Node-API reading a property is that: it refuses. An
// empty value is as undefined then; what node-addon-api does with one where it expects another type is to end the
// process.
Napi::Value Property(const Napi::Object& object, const char* name) {
  napi_value value = nullptr;
  napi_get_named_property(object.Env(), object, name, &value);
  return {object.Env(), value};
}

int Int(const Napi::Value& value) {
  int32_t number = 0;
  napi_get_value_int32(value.Env(), value, &number);
  return number;
}

int Int(const Napi::CallbackInfo& info, size_t index) { return Int(info[index]); }

bool Flag(const Napi::Value& value) {
  bool flag = false;
  napi_get_value_bool(value.Env(), value, &flag);
  return flag;
}

uint16_t Port(const Napi::CallbackInfo& info, size_t index) { return static_cast<uint16_t>(Int(info, index)); }

// INET6_ADDRSTRLEN, '%', IF_NAMESIZE: longer text is no numeric address.
constexpr size_t kAddressText = 64;

bool Text(napi_env env, napi_value value, char (&text)[kAddressText]) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, text, sizeof text, &length) != napi_ok) return false;
  return length < sizeof text - 1 && std::strlen(text) == length;
}

Result AddressArgument(const Napi::CallbackInfo& info, size_t index, int family, uint16_t port, Address* out) {
  char text[kAddressText];
  // What is too long in an address that src/ has checked is the name of an interface.
  if (!Text(info.Env(), info[index], text)) return Result::Fail(Syscall::kIfNameToIndex, ENODEV);
  return Address::Parse(family, text, port, out);
}

Result OptionalAddressArgument(const Napi::CallbackInfo& info, size_t index, int family, uint16_t port,
                               std::optional<Address>* out) {
  if (info[index].IsNull() || info[index].IsUndefined()) return Result::Ok();
  return AddressArgument(info, index, family, port, &out->emplace());
}

// Four arguments from `first` on: local, localPort, remote, remotePort.
Result TupleArgument(const Napi::CallbackInfo& info, size_t first, int family, Address* local, Address* remote) {
  Result result = AddressArgument(info, first, family, Port(info, first + 1), local);
  return result.ok() ? AddressArgument(info, first + 2, family, Port(info, first + 3), remote) : result;
}

// Three arguments from `first` on: local, remote, remotePort.
Result EndsArgument(const Napi::CallbackInfo& info, size_t first, int family, Address* local, Address* remote) {
  Result result = AddressArgument(info, first, family, 0, local);
  return result.ok() ? AddressArgument(info, first + 1, family, Port(info, first + 2), remote) : result;
}

// A Uint8Array, or a number as a C int. False when there are more bytes than setsockopt(2) can be told of.
bool Bytes(const Napi::Value& value, std::vector<uint8_t>* out) {
  int32_t number = 0;
  void* data = &number;
  size_t length = sizeof number;
  bool is_array = false;
  napi_is_typedarray(value.Env(), value, &is_array);
  if (is_array) {
    // Napi::ArrayBuffer does not understand a SharedArrayBuffer; this does.
    napi_typedarray_type type = napi_uint8_array;
    napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
    if (type != napi_uint8_array || length > INT_MAX) return false;
  } else {
    napi_get_value_int32(value.Env(), value, &number);
  }
  const auto* bytes = static_cast<const uint8_t*>(data);
  if (length > 0) out->assign(bytes, bytes + length);
  return true;
}

Result ReadExtras(const Napi::Object& extras, SocketOptions* plan) {
  plan->free_bind = Flag(Property(extras, "freeBind"));
  plan->transparent = Flag(Property(extras, "transparent"));
  Napi::Value interface = Property(extras, "interface");
  if (interface.IsString()) plan->interface = interface.As<Napi::String>();
  Napi::Value mark = Property(extras, "mark");
  if (mark.IsNumber()) plan->mark = mark.As<Napi::Number>().Uint32Value();
  Napi::Value options = Property(extras, "socketOptions");
  if (!options.IsArray()) return Result::Ok();
  Napi::Array array = options.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    napi_value element = nullptr;
    napi_get_element(array.Env(), array, i, &element);
    const Napi::Object option(array.Env(), element);
    SocketOption& read = plan->others.emplace_back();
    read.level = Int(Property(option, "level"));
    read.name = Int(Property(option, "name"));
    if (!Bytes(Property(option, "value"), &read.value)) return Result::Fail(Syscall::kSetsockopt, EINVAL);
  }
  return Result::Ok();
}

Result ReadTcpExtras(const Napi::Value& value, TcpPlan* plan) {
  if (!value.IsObject()) return Result::Ok();
  Napi::Object extras = value.As<Napi::Object>();
  plan->fast_open = Flag(Property(extras, "fastOpen"));
  return ReadExtras(extras, &plan->options);
}

// tcpPrepare(family, source | null [, port, low, high, extras | null]) -> fd
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
    parsed = ReadTcpExtras(info[5], &plan);
    if (!parsed.ok()) return ToJs(info, parsed);
  }
  return ToJs(info, TcpPrepare(plan));
}

// tcpCheck(fd, family, source | null, low, high, remoteAddress, remotePort) -> verdict
Napi::Value TcpCheckJs(const Napi::CallbackInfo& info) {
  const int family = Int(info, 1);
  std::optional<Address> source;
  Result parsed = OptionalAddressArgument(info, 2, family, 0, &source);
  if (!parsed.ok()) return ToJs(info, parsed);
  Address remote;
  parsed = AddressArgument(info, 5, family, Port(info, 6), &remote);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, TcpCheck(Int(info, 0), source, Port(info, 3), Port(info, 4), remote));
}

constexpr size_t kFileBytes = 4096;

// readFile(path) -> string | number: the first 4096 bytes of a small /proc file, read on the calling thread, so that it
// is the calling thread's network namespace that answers below /proc/sys/net.
Napi::Value ReadFileJs(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  char bytes[kFileBytes];
  Result result = os::ReadFile(path.c_str(), bytes, sizeof bytes);
  if (!result.ok()) return ToJs(info, result);
  return Napi::String::New(info.Env(), bytes, static_cast<size_t>(result.value));
}

Napi::Value TcpFeaturesJs(const Napi::CallbackInfo& info) { return ToJs(info, TcpFeatures()); }

Napi::Value InterfaceIndexJs(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  return ToJs(info, os::IfNameToIndex(name.c_str()));
}

// replace(from, to): `to` becomes what `from` is, and `from` is closed, whatever happens.
Napi::Value ReplaceJs(const Napi::CallbackInfo& info) {
  Fd from(Int(info, 0));
  return ToJs(info, os::Dup3(from.get(), Int(info, 1)));
}

// What an environment keeps between calls; its descriptors are closed with it.
struct Environment {
  Oracle udp;
  // Apart, because each of them tells its user when the thread has changed its network namespace.
  Oracle tcp;
  LooseSocket loose;
};

Environment* EnvironmentOf(const Napi::CallbackInfo& info) { return info.Env().GetInstanceData<Environment>(); }

Oracle* UdpOracle(const Napi::CallbackInfo& info) { return &EnvironmentOf(info)->udp; }

// routeLookup(family, destination, interfaceIndex, mark, remembered) -> { type, interface, source?: string } | number
// `remembered`: on a socket that is kept, which answers for the namespace that the thread was in when it was opened.
Napi::Value RouteLookupJs(const Napi::CallbackInfo& info) {
  RouteQuery query;
  Result result = AddressArgument(info, 1, Int(info, 0), 0, &query.destination);
  if (!result.ok()) return ToJs(info, result);
  query.interface = static_cast<uint32_t>(Int(info, 2));
  query.mark = info[3].As<Napi::Number>().Uint32Value();
  RouteAnswer answer;
  Fd once;
  result = RouteLookup(query, Flag(info[4]) ? &UdpOracle(info)->route : &once, &answer);
  if (!result.ok()) return ToJs(info, result);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("type", Napi::Number::New(info.Env(), answer.type));
  object.Set("interface", Napi::Number::New(info.Env(), answer.interface));
  if (answer.source.has_value()) object.Set("source", Napi::String::New(info.Env(), answer.source->Text()));
  return object;
}

enum UdpFlag : int { kShared = 1, kExclusive = 2, kAlone = 4 };

// The arguments from `first` on: family, source, sourcePort, remote, remotePort, flags, extras | null
Result UdpPlanArgument(const Napi::CallbackInfo& info, size_t first, UdpPlan* plan) {
  Result result = TupleArgument(info, first + 1, Int(info, first), &plan->source, &plan->remote);
  if (!result.ok()) return result;
  const int flags = Int(info, first + 5);
  plan->shared = (flags & kShared) != 0;
  plan->exclusive = (flags & kExclusive) != 0;
  plan->alone = (flags & kAlone) != 0;
  if (!info[first + 6].IsObject()) return Result::Ok();
  result = ReadExtras(info[first + 6].As<Napi::Object>(), &plan->options);
  if (!result.ok()) return result;
  if (plan->options.interface.empty()) return Result::Ok();
  Result index = os::IfNameToIndex(plan->options.interface.c_str());
  if (!index.ok()) return Result::Fail(Syscall::kSetsockopt, ENODEV);
  plan->interface = static_cast<uint32_t>(index.value);
  return Result::Ok();
}

// udpConnect(fd, family, source, sourcePort, remote, remotePort, flags, extras | null) -> verdict
Napi::Value UdpConnectJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  Result parsed = UdpPlanArgument(info, 1, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, UdpConnect(UdpOracle(info), plan, Int(info, 0)));
}

// udpConnectLocked(fd, family, remote, remotePort, unlock) -> verdict
Napi::Value UdpConnectLockedJs(const Napi::CallbackInfo& info) {
  Address remote;
  Result parsed = AddressArgument(info, 2, Int(info, 1), Port(info, 3), &remote);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, UdpConnectLocked(UdpOracle(info), Int(info, 0), remote, Flag(info[4])));
}

// udpOwner(family, source, sourcePort, remote, remotePort, flags, extras | null) -> state, 0 for nobody
Napi::Value UdpOwnerJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  Result parsed = UdpPlanArgument(info, 0, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, UdpOwner(UdpOracle(info), plan));
}

// Source ports to be tried in turn, with their places in what JavaScript gave. The memory is JavaScript's.
struct PortList {
  const uint16_t* ports = nullptr;
  size_t count = 0;

  bool Read(const Napi::Value& value) {
    napi_typedarray_type type = napi_uint8_array;
    void* data = nullptr;
    if (napi_get_typedarray_info(value.Env(), value, &type, &count, &data, nullptr, nullptr) != napi_ok) return false;
    ports = static_cast<const uint16_t*>(data);
    return type == napi_uint16_array && count > 0;
  }
};

// The outcome of `ask`, asked of port after port as long as the answer is `dull`, and the place of that port: value +
// 16 * place.
template <typename Ask>
Result FirstOf(const PortList& list, int dull, UdpPlan* plan, Ask ask) {
  for (size_t place = 0;; place++) {
    plan->source.set_port(list.ports[place]);
    const Result result = ask();
    if (!result.ok()) return result;
    if (result.value == dull && place + 1 < list.count) continue;
    return Result::Ok(result.value + 16 * static_cast<int>(place));
  }
}

// udpConnectFirst(fd, family, source, ports, remote, remotePort, flags, extras | null) -> verdict + 16 * place: of the
// first port that is not locked, or of the last
Napi::Value UdpConnectFirstJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  PortList list;
  Result parsed = UdpPlanArgument(info, 1, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  if (!list.Read(info[3])) return ToJs(info, Result::Fail(Syscall::kBind, EINVAL));
  return ToJs(info, FirstOf(list, static_cast<int>(UdpVerdict::kPortLocked), &plan,
                            [&] { return UdpConnect(UdpOracle(info), plan, Int(info, 0)); }));
}

// udpOwnerFirst(family, source, ports, remote, remotePort, flags, extras | null) -> state + 16 * place: of the first
// 4-tuple that nobody is connected with, or of the last
Napi::Value UdpOwnerFirstJs(const Napi::CallbackInfo& info) {
  UdpPlan plan;
  PortList list;
  Result parsed = UdpPlanArgument(info, 0, &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  if (!list.Read(info[2])) return ToJs(info, Result::Fail(Syscall::kBind, EINVAL));
  return ToJs(info, FirstOf(list, kEstablished, &plan, [&] { return UdpOwner(UdpOracle(info), plan); }));
}

// udpSocket(family) -> fd, to be adopted at once
Napi::Value UdpSocketJs(const Napi::CallbackInfo& info) {
  return ToJs(info, EnvironmentOf(info)->loose.Open(Int(info, 0), SOCK_DGRAM, IPPROTO_UDP));
}

// udpMoved() -> 0 or 1
Napi::Value UdpMovedJs(const Napi::CallbackInfo& info) { return ToJs(info, UdpMoved(UdpOracle(info))); }

Napi::Value UdpProbeJs(const Napi::CallbackInfo& info) { return ToJs(info, UdpProbe()); }

// tcpPin(family, source | null, port, extras | null) -> 2 * fd, + 1 where the kernel will assign the port
Napi::Value TcpPinJs(const Napi::CallbackInfo& info) {
  TcpPlan plan;
  plan.family = Int(info, 0);
  Result parsed = OptionalAddressArgument(info, 1, plan.family, 0, &plan.source);
  if (!parsed.ok()) return ToJs(info, parsed);
  parsed = ReadTcpExtras(info[3], &plan);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, TcpPin(&EnvironmentOf(info)->tcp, plan, Port(info, 2)));
}

// tcpHeldWithOtherDevice(fd | -1, family, local, localPort, remote, remotePort, interface) -> 0 or 1
Napi::Value TcpHeldWithOtherDeviceJs(const Napi::CallbackInfo& info) {
  Address local;
  Address remote;
  Result result = TupleArgument(info, 2, Int(info, 1), &local, &remote);
  if (!result.ok()) return ToJs(info, result);
  const auto interface = static_cast<uint32_t>(Int(info, 6));
  return ToJs(info, HeldWithOtherDevice(&EnvironmentOf(info)->tcp, Int(info, 0), local, remote, interface));
}

// countTimeWait(fd, family, local, remote, remotePort, low, high, start) -> found + 65536 * looked at
Napi::Value CountTimeWaitJs(const Napi::CallbackInfo& info) {
  Address local;
  Address remote;
  Result result = EndsArgument(info, 2, Int(info, 1), &local, &remote);
  if (!result.ok()) return ToJs(info, result);
  PortSpan span;
  span.low = Port(info, 5);
  span.high = Port(info, 6);
  const uint32_t start = info[7].As<Napi::Number>().Uint32Value();
  return ToJs(info, CountTimeWait(&EnvironmentOf(info)->tcp, Int(info, 0), local, remote, span, start));
}

// diagLookup(protocol, family, local, localPort, remote, remotePort, interface)
//   -> { state, cookie, interface, inode, uid } | null | number
Napi::Value DiagLookupJs(const Napi::CallbackInfo& info) {
  DiagQuery query;
  query.protocol = static_cast<uint8_t>(Int(info, 0));
  Result result = TupleArgument(info, 2, Int(info, 1), &query.local, &query.remote);
  if (!result.ok()) return ToJs(info, result);
  query.interface = static_cast<uint32_t>(Int(info, 6));
  // A socket of its own, so that it is the calling thread's network namespace of now that answers.
  SockDiag diag;
  DiagAnswer answer;
  result = diag.Ask(query, &answer);
  if (!result.ok()) return ToJs(info, result);
  if (!answer.found) return info.Env().Null();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("state", Napi::Number::New(info.Env(), answer.state));
  object.Set("cookie", Napi::BigInt::New(info.Env(), answer.cookie));
  object.Set("interface", Napi::Number::New(info.Env(), answer.interface));
  object.Set("inode", Napi::Number::New(info.Env(), answer.inode));
  object.Set("uid", Napi::Number::New(info.Env(), answer.uid));
  return object;
}

// A dump of the kernel's socket table, off the event loop.
template <typename Sink>
struct DumpJob {
  // Opened by the thread that asks, so that it is that thread's network namespace that answers.
  Fd fd;
  DumpQuestion question;
  Sink sink;
  // Of work that was never begun.
  Result result = Result::Fail(Syscall::kNetlink, ECANCELED);
  // Made on the other thread as well, for the event loop to copy.
  Records records;

  template <typename... Arguments>
  explicit DumpJob(Arguments&&... arguments) : sink(std::forward<Arguments>(arguments)...) {}

  Result Open() {
    Result opened = OpenNetlink(NETLINK_SOCK_DIAG, 0);
    if (opened.ok()) fd = Fd(opened.value);
    return opened;
  }

  void Run() {
    result = Dump(fd.get(), question, &sink);
    fd.Reset();
    if (result.ok()) records = sink.Take();
  }

  napi_value Value(napi_env env) {
    napi_value value = nullptr;
    if (!result.ok()) {
      static_cast<void>(napi_create_int32(env, Pack(result), &value));
      return value;
    }
    void* data = nullptr;
    napi_value buffer = nullptr;
    if (napi_create_arraybuffer(env, records.size(), &data, &buffer) != napi_ok) return nullptr;
    if (!records.empty()) std::memcpy(data, records.data(), records.size());
    const bool ports = std::is_same<Sink, PortSink>::value;
    const size_t length = ports ? records.size() / sizeof(uint16_t) : records.size();
    const napi_typedarray_type type = ports ? napi_uint16_array : napi_uint8_array;
    static_cast<void>(napi_create_typedarray(env, type, length, buffer, 0, &value));
    return value;
  }
};

template <typename Sink>
Napi::Value QueueDump(const Napi::CallbackInfo& info, const char* name, std::unique_ptr<DumpJob<Sink>> job) {
  Result opened = job->Open();
  if (!opened.ok()) return ToJs(info, opened);
  napi_value promise = InBackground(info.Env(), name, std::move(job));
  if (promise == nullptr) return ToJs(info, Result::Fail(Syscall::kNetlink, ECANCELED));
  return Napi::Value(info.Env(), promise);
}

Result IpArgument(const Napi::CallbackInfo& info, size_t index, std::optional<Ip>* out) {
  if (!info[index].IsString()) return Result::Ok();
  char text[kAddressText];
  if (!Text(info.Env(), info[index], text)) return Result::Fail(Syscall::kIfNameToIndex, ENODEV);
  Address address;
  Result result = Address::Parse(std::strchr(text, ':') == nullptr ? AF_INET : AF_INET6, text, 0, &address);
  if (result.ok()) *out = IpOf(address);
  return result;
}

Result PortsInStateArguments(const Napi::CallbackInfo& info, std::unique_ptr<DumpJob<PortSink>>* job) {
  DumpQuestion question;
  question.protocol = static_cast<uint8_t>(Int(info, 0));
  const auto state = static_cast<uint8_t>(Int(info, 1) & 31);
  question.states = StateBit(state);
  Address local;
  Address remote;
  Result result = EndsArgument(info, 3, Int(info, 2), &local, &remote);
  if (!result.ok()) return result;
  question.local = IpOf(local);
  question.remote = IpOf(remote);
  question.remote_port = remote.port();
  std::vector<uint32_t> interfaces;
  if (question.protocol == IPPROTO_UDP) {
    // A socket with another device gets no datagram of this peer: UdpOwner() does not see it either.
    result = UdpOracle(info)->links.Towards(remote, &interfaces);
    if (!result.ok()) return result;
    interfaces.push_back(0);
  } else if (remote.scope() != 0) {
    interfaces.push_back(remote.scope());
  }
  *job = std::make_unique<DumpJob<PortSink>>(state, std::move(interfaces));
  (*job)->question = question;
  return Result::Ok();
}

// portsInState(protocol, state, family, local, remote, remotePort) -> Promise<Uint16Array | number> | number
Napi::Value PortsInStateJs(const Napi::CallbackInfo& info) {
  std::unique_ptr<DumpJob<PortSink>> job;
  Result result = PortsInStateArguments(info, &job);
  if (!result.ok()) return ToJs(info, result);
  return QueueDump(info, "connectx:portsInState", std::move(job));
}

// portsInStateNow(protocol, state, family, local, remote, remotePort) -> Uint16Array | number
Napi::Value PortsInStateNowJs(const Napi::CallbackInfo& info) {
  std::unique_ptr<DumpJob<PortSink>> job;
  Result result = PortsInStateArguments(info, &job);
  if (result.ok()) result = job->Open();
  if (!result.ok()) return ToJs(info, result);
  job->Run();
  napi_value value = job->Value(info.Env());
  if (value == nullptr) return ToJs(info, Result::Fail(Syscall::kNetlink, ECANCELED));
  return Napi::Value(info.Env(), value);
}

// socketHolders(protocol, low, high) -> Promise<Uint8Array | number> | number
Napi::Value SocketHoldersJs(const Napi::CallbackInfo& info) {
  auto job = std::make_unique<DumpJob<HolderSink>>();
  job->question.protocol = static_cast<uint8_t>(Int(info, 0));
  job->question.states = kHolderStates;
  job->question.low = Port(info, 1);
  job->question.high = Port(info, 2);
  return QueueDump(info, "connectx:socketHolders", std::move(job));
}

// socketGroups(protocol, local | null, remote | null, remotePort, ports, except) -> Promise<Uint8Array | number> |
// number `ports` are 65536 bits, `except` endpoints as socketHolders() tells them; remotePort -1 is any.
Napi::Value SocketGroupsJs(const Napi::CallbackInfo& info) {
  DumpQuestion question;
  question.protocol = static_cast<uint8_t>(Int(info, 0));
  question.states = kConnectedStates;
  Result result = IpArgument(info, 1, &question.local);
  if (result.ok()) result = IpArgument(info, 2, &question.remote);
  if (!result.ok()) return ToJs(info, result);
  question.remote_port = Int(info, 3);
  std::vector<uint8_t> bits;
  std::vector<uint8_t> endpoints;
  if (!Bytes(info[4], &bits) || !Bytes(info[5], &endpoints)) return ToJs(info, Result::Fail(Syscall::kNetlink, EINVAL));
  PortBits ports;
  for (size_t port = 0; port < std::min(bits.size() * 8, ports.size()); port++) {
    if ((bits[port / 8] >> (port % 8) & 1) != 0) ports.set(port);
  }
  if (ports.any()) {
    while (!ports.test(question.low)) question.low++;
    while (!ports.test(question.high)) question.high--;
  }
  std::unordered_set<std::string> except;
  constexpr size_t kSize = std::tuple_size<Endpoint>::value;
  for (size_t at = 0; at + kSize <= endpoints.size(); at += kSize) {
    except.emplace(reinterpret_cast<const char*>(endpoints.data()) + at, kSize);
  }
  auto job = std::make_unique<DumpJob<GroupSink>>(ports, std::move(except));
  job->question = question;
  return QueueDump(info, "connectx:socketGroups", std::move(job));
}

Napi::Value SocketJs(const Napi::CallbackInfo& info) {
  return ToJs(info, os::Socket(Int(info, 0), Int(info, 1), Int(info, 2)));
}

// Refuses a descriptor that is no socket: a wrong number must not close somebody's file or pipe.
Napi::Value CloseJs(const Napi::CallbackInfo& info) {
  const int fd = Int(info, 0);
  struct stat status;
  if (::fstat(fd, &status) != 0) return ToJs(info, Result::Fail(Syscall::kClose, errno));
  if (!S_ISSOCK(status.st_mode)) return ToJs(info, Result::Fail(Syscall::kClose, ENOTSOCK));
  return ToJs(info, os::Close(fd));
}

Napi::Value SetsockoptJs(const Napi::CallbackInfo& info) {
  std::vector<uint8_t> value;
  if (!Bytes(info[3], &value)) return ToJs(info, Result::Fail(Syscall::kSetsockopt, EINVAL));
  return ToJs(info, os::Setsockopt(Int(info, 0), Int(info, 1), Int(info, 2), value.data(),
                                   static_cast<socklen_t>(value.size())));
}

// getsockopt(fd, level, name, capacity) -> Buffer | number
Napi::Value GetsockoptJs(const Napi::CallbackInfo& info) {
  const int capacity = Int(info, 3);
  const int level = Int(info, 1);
  const int name = Int(info, 2);
  // The one option whose length is not in bytes, but in instructions of 8 bytes (sk_get_filter, Linux 6.12): told of
  // bytes, the kernel would write beyond them.
  const size_t unit = level == SOL_SOCKET && name == SO_GET_FILTER ? sizeof(sock_filter) : 1;
  std::vector<uint8_t> value(static_cast<size_t>(capacity < 0 ? 0 : capacity));
  auto length = static_cast<socklen_t>(value.size() / unit);
  Result result = os::Getsockopt(Int(info, 0), level, name, value.data(), &length);
  if (!result.ok()) return ToJs(info, result);
  // Some options report the length that they would have needed.
  const size_t filled = std::min(length * unit, value.size());
  return Napi::Buffer<uint8_t>::Copy(info.Env(), value.data(), filled);
}

Napi::Value WithAddress(const Napi::CallbackInfo& info, Result (*call)(int, const sockaddr*, socklen_t)) {
  Address address;
  Result parsed = AddressArgument(info, 2, Int(info, 1), Port(info, 3), &address);
  if (!parsed.ok()) return ToJs(info, parsed);
  return ToJs(info, call(Int(info, 0), address.get(), address.length()));
}

// bind(fd, family, address, port), connect(fd, family, address, port)
Napi::Value BindJs(const Napi::CallbackInfo& info) { return WithAddress(info, os::Bind); }
Napi::Value ConnectJs(const Napi::CallbackInfo& info) { return WithAddress(info, os::Connect); }

Napi::Value Endpoint(const Napi::CallbackInfo& info, Result (*call)(int, Address*)) {
  Address address;
  Result result = call(Int(info, 0), &address);
  if (!result.ok()) return ToJs(info, result);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("family", Napi::String::New(info.Env(), address.family() == AF_INET ? "IPv4" : "IPv6"));
  object.Set("address", Napi::String::New(info.Env(), address.Text()));
  object.Set("port", Napi::Number::New(info.Env(), address.port()));
  if (address.scope() != 0) object.Set("scope", Napi::Number::New(info.Env(), address.scope()));
  return object;
}

Napi::Value GetsocknameJs(const Napi::CallbackInfo& info) { return Endpoint(info, LocalAddress); }
Napi::Value GetpeernameJs(const Napi::CallbackInfo& info) { return Endpoint(info, PeerAddress); }

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  add("tcpPrepare", TcpPrepareJs);
  add("tcpCheck", TcpCheckJs);
  add("tcpFeatures", TcpFeaturesJs);
  add("tcpPin", TcpPinJs);
  add("tcpHeldWithOtherDevice", TcpHeldWithOtherDeviceJs);
  add("udpConnect", UdpConnectJs);
  add("udpConnectFirst", UdpConnectFirstJs);
  add("udpConnectLocked", UdpConnectLockedJs);
  add("udpOwner", UdpOwnerJs);
  add("udpOwnerFirst", UdpOwnerFirstJs);
  add("udpMoved", UdpMovedJs);
  add("udpProbe", UdpProbeJs);
  add("udpSocket", UdpSocketJs);
  add("diagLookup", DiagLookupJs);
  add("countTimeWait", CountTimeWaitJs);
  add("portsInState", PortsInStateJs);
  add("portsInStateNow", PortsInStateNowJs);
  add("socketHolders", SocketHoldersJs);
  add("socketGroups", SocketGroupsJs);
  add("routeLookup", RouteLookupJs);
  add("readFile", ReadFileJs);
  add("interfaceIndex", InterfaceIndexJs);
  add("replace", ReplaceJs);
  add("socket", SocketJs);
  add("close", CloseJs);
  add("setsockopt", SetsockoptJs);
  add("getsockopt", GetsockoptJs);
  add("bind", BindJs);
  add("connect", ConnectJs);
  add("getsockname", GetsocknameJs);
  add("getpeername", GetpeernameJs);
  Napi::Array names = Napi::Array::New(env);
  for (uint32_t i = 0; i < static_cast<uint32_t>(Syscall::kCount); i++) names.Set(i, kSyscallNames[i]);
  exports.Set("syscalls", names);
  return exports;
}

}  // namespace
}  // namespace connectx

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports) { return connectx::Init(env, exports); }

NODE_API_MODULE(NODE_GYP_MODULE_NAME, InitAddon)
