// Questions to the kernel's tables: sockets and routes. Unpack, call, answer.
#include <linux/netlink.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "address.h"
#include "napi/arguments.h"
#include "napi/background.h"
#include "napi/environment.h"
#include "netlink/diag_dump.h"
#include "netlink/message.h"
#include "netlink/route.h"
#include "netlink/sock_diag.h"
#include "netlink/socket_table.h"

namespace connectx {
namespace {

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

// routeLookup(family, destination, interfaceIndex, mark, remembered [, protocol, remotePort, localPort, tos])
//   -> { type, interface, source?: string } | number
// `remembered`: on a socket that is kept, which answers for the namespace that the thread was in when it was opened.
Napi::Value RouteLookupJs(const Napi::CallbackInfo& info) {
  RouteQuery query;
  Result result = AddressArgument(info, 1, Int(info, 0), 0, &query.destination);
  if (!result.ok()) return ToJs(info, result);
  query.interface = static_cast<uint32_t>(Int(info, 2));
  query.mark = Uint(info, 3);
  if (info.Length() > 5) {
    query.protocol = static_cast<uint8_t>(Int(info, 5));
    query.remote_port = Port(info, 6);
    query.local_port = Port(info, 7);
    query.tos = static_cast<uint8_t>(Int(info, 8));
  }
  const bool remembered = Flag(info[4]);
  NamespaceSockets once;
  NamespaceSockets* sockets = remembered ? &EnvironmentOf(info)->udp : &once;
  if (query.interface == 0) query.interface = sockets->BornDevice();
  RouteAnswer answer;
  result = RouteLookup(query, &sockets->route, &answer);
  if (!result.ok()) return ToJs(info, result);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("type", Napi::Number::New(info.Env(), answer.type));
  object.Set("interface", Napi::Number::New(info.Env(), answer.interface));
  if (answer.source.has_value()) object.Set("source", Napi::String::New(info.Env(), answer.source->Text()));
  return object;
}

// listingCost() -> number: what the lists of sockets have taken so far, in ms of a processor
Napi::Value ListingCostJs(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(EnvironmentOf(info)->listing_ns) / 1e6);
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
  uint64_t ns = 0;

  template <typename... Arguments>
  explicit DumpJob(Arguments&&... arguments) : sink(std::forward<Arguments>(arguments)...) {}

  Result Open() {
    Result opened = OpenNetlink(NETLINK_SOCK_DIAG, 0);
    if (opened.ok()) fd = Fd(opened.value);
    return opened;
  }

  void Run() {
    const uint64_t began = os::ThreadNanoseconds();
    result = DumpSockets(fd.get(), question, &sink);
    fd.Reset();
    if (result.ok()) records = sink.Take();
    ns = os::ThreadNanoseconds() - began;
  }

  napi_value Value(napi_env env) {
    Napi::Env(env).GetInstanceData<Environment>()->listing_ns += ns;
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
    const size_t length = ports ? records.size() / sizeof(uint32_t) : records.size();
    const napi_typedarray_type type = ports ? napi_uint32_array : napi_uint8_array;
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
  question.states = state == 0 ? kConnectedStates & ~StateBit(kTimeWait) : StateBit(state);
  Address local;
  Address remote;
  Result result = EndsArgument(info, 3, Int(info, 2), &local, &remote);
  if (!result.ok()) return result;
  question.local = IpOf(local);
  question.remote = IpOf(remote);
  question.remote_port = remote.port();
  if (info.Length() > 6) {
    question.low = Port(info, 6);
    question.high = Port(info, 7);
  }
  std::vector<uint32_t> devices;
  result = DevicesTowards(&EnvironmentOf(info)->udp.links, question.protocol, remote, &devices);
  if (!result.ok()) return result;
  *job = std::make_unique<DumpJob<PortSink>>(state, std::move(devices));
  (*job)->question = question;
  return Result::Ok();
}

// portsInState(protocol, state, family, local, remote, remotePort [, low, high]) -> Promise<Uint32Array | number> |
// number: 65,536 bits. State 0: any that holds a 4-tuple, but TIME-WAIT.
Napi::Value PortsInStateJs(const Napi::CallbackInfo& info) {
  std::unique_ptr<DumpJob<PortSink>> job;
  Result result = PortsInStateArguments(info, &job);
  if (!result.ok()) return ToJs(info, result);
  return QueueDump(info, "connectx:portsInState", std::move(job));
}

// portsInStateNow(protocol, state, family, local, remote, remotePort [, low, high]) -> Uint32Array | number
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
  const PortBits ports = PortsFrom(bits);
  NarrowTo(ports, &question);
  auto job = std::make_unique<DumpJob<GroupSink>>(ports, std::move(endpoints));
  job->question = question;
  return QueueDump(info, "connectx:socketGroups", std::move(job));
}

}  // namespace

void AddTable(Napi::Object* exports, Napi::Object* constants) {
  Add(exports, "diagLookup", DiagLookupJs);
  Add(exports, "routeLookup", RouteLookupJs);
  Add(exports, "portsInState", PortsInStateJs);
  Add(exports, "portsInStateNow", PortsInStateNowJs);
  Add(exports, "listingCost", ListingCostJs);
  Add(exports, "socketHolders", SocketHoldersJs);
  Add(exports, "socketGroups", SocketGroupsJs);
  AddConstants(constants, "socketState",
               {{"established", kEstablished},
                {"synSent", kSynSent},
                {"timeWait", kTimeWait},
                {"closed", kClosed},
                {"listening", kListening}});
}

}  // namespace connectx
