// For the tests: the netlink codec of the addon, without the kernel. Bytes to decode lie right before a page that
// cannot be read, so that reading one byte too many is a crash.
#include <napi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "address.h"
#include "netlink/diag_dump.h"
#include "netlink/links.h"
#include "netlink/route.h"
#include "netlink/sock_diag.h"
#include "netlink/socket_table.h"
#include "os.h"
#include "tcp/prepare.h"

namespace {

using namespace connectx;

// Memory before a page that cannot be read; one for each environment.
class Guarded {
 public:
  static constexpr size_t kSize = 65536;

  Guarded() {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = kSize + page;
    void* map = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) Napi::Error::Fatal("Guarded", "no memory can be mapped");
    map_ = static_cast<uint8_t*>(map);
    if (mprotect(map_ + kSize, page, PROT_NONE) != 0) Napi::Error::Fatal("Guarded", "no memory can be protected");
  }
  ~Guarded() { munmap(map_, mapped_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  // A copy of the bytes, up to the very end.
  const uint8_t* Put(const Napi::Uint8Array& bytes) {
    if (bytes.ByteLength() > kSize) Napi::Error::Fatal("Guarded", "too many bytes");
    uint8_t* copy = map_ + kSize - bytes.ByteLength();
    if (bytes.ByteLength() > 0) std::memcpy(copy, bytes.Data(), bytes.ByteLength());
    return copy;
  }

 private:
  uint8_t* map_ = nullptr;
  size_t mapped_ = 0;
};

struct Input {
  explicit Input(const Napi::CallbackInfo& info) {
    const auto array = info[0].As<Napi::Uint8Array>();
    length = array.ByteLength();
    bytes = info.Env().GetInstanceData<Guarded>()->Put(array);
  }

  const uint8_t* bytes;
  size_t length;
};

uint32_t Number(const Napi::Value& value) { return value.As<Napi::Number>().Uint32Value(); }

Address AddressOf(const Napi::Env& env, const Napi::Value& family, const Napi::Value& ip, const Napi::Value& port) {
  Address address;
  const std::string text = ip.As<Napi::String>();
  if (!Address::Parse(static_cast<int>(Number(family)), text.c_str(), static_cast<uint16_t>(Number(port)), &address)
           .ok()) {
    Napi::Error::New(env, "no address: " + text).ThrowAsJavaScriptException();
  }
  return address;
}

Napi::Object Outcome(const Napi::Env& env, const Result& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("errno", Napi::Number::New(env, result.error));
  object.Set("syscall", Napi::String::New(env, kSyscallNames[static_cast<size_t>(result.syscall)]));
  return object;
}

// encodeDiagQuery(protocol, family, local, localPort, remote, remotePort, interface, sequence) -> Buffer
// isInRange(bytes, port)
Napi::Value IsInRangeJs(const Napi::CallbackInfo& info) {
  const Input input(info);
  const auto* text = reinterpret_cast<const char*>(input.bytes);
  return Napi::Boolean::New(info.Env(), IsInRange(text, input.length, static_cast<uint16_t>(Number(info[1]))));
}

Napi::Value EncodeDiagQueryJs(const Napi::CallbackInfo& info) {
  DiagQuery query;
  query.protocol = static_cast<uint8_t>(Number(info[0]));
  query.local = AddressOf(info.Env(), info[1], info[2], info[3]);
  query.remote = AddressOf(info.Env(), info[1], info[4], info[5]);
  query.interface = Number(info[6]);
  const auto bytes = EncodeDiagQuery(query, Number(info[7]));
  return Napi::Buffer<uint8_t>::Copy(info.Env(), bytes.data(), bytes.size());
}

// decodeDiagAnswer(bytes, sequence, family, remote, remotePort): the remote end is for `isConnectedTo` only
Napi::Value DecodeDiagAnswerJs(const Napi::CallbackInfo& info) {
  const Input input(info);
  DiagAnswer answer;
  Napi::Object object = Outcome(info.Env(), DecodeDiagAnswer(input.bytes, input.length, Number(info[1]), &answer));
  object.Set("found", answer.found);
  object.Set("state", Napi::Number::New(info.Env(), answer.state));
  object.Set("cookie", Napi::BigInt::New(info.Env(), answer.cookie));
  object.Set("interface", Napi::Number::New(info.Env(), answer.interface));
  object.Set("inode", Napi::Number::New(info.Env(), answer.inode));
  object.Set("uid", Napi::Number::New(info.Env(), answer.uid));
  object.Set("isConnectedTo", answer.IsConnectedTo(AddressOf(info.Env(), info[2], info[3], info[4])));
  return object;
}

// encodeRouteQuery(family, destination, interface, mark, sequence) -> Buffer
Napi::Value EncodeRouteQueryJs(const Napi::CallbackInfo& info) {
  RouteQuery query;
  query.destination = AddressOf(info.Env(), info[0], info[1], Napi::Number::New(info.Env(), 0));
  query.interface = Number(info[2]);
  query.mark = Number(info[3]);
  const std::vector<uint8_t> bytes = EncodeRouteQuery(query, Number(info[4]));
  return Napi::Buffer<uint8_t>::Copy(info.Env(), bytes.data(), bytes.size());
}

// decodeRouteAnswer(bytes, sequence, family)
Napi::Value DecodeRouteAnswerJs(const Napi::CallbackInfo& info) {
  const Input input(info);
  RouteAnswer answer;
  Napi::Object object = Outcome(info.Env(), DecodeRouteAnswer(input.bytes, input.length, Number(info[1]),
                                                              static_cast<int>(Number(info[2])), &answer));
  object.Set("type", Napi::Number::New(info.Env(), answer.type));
  object.Set("interface", Napi::Number::New(info.Env(), answer.interface));
  if (answer.source.has_value()) object.Set("source", Napi::String::New(info.Env(), answer.source->Text()));
  return object;
}

// decodeLinks(bytes, sequence)
Napi::Value DecodeLinksJs(const Napi::CallbackInfo& info) {
  const Input input(info);
  std::vector<uint32_t> links;
  bool interrupted = false;
  const Result result = DecodeLinks(input.bytes, input.length, Number(info[1]), &links, &interrupted);
  Napi::Object object = Outcome(info.Env(), result);
  object.Set("over", result.ok() && result.value == 1);
  object.Set("interrupted", interrupted);
  Napi::Array array = Napi::Array::New(info.Env());
  for (size_t i = 0; i < links.size(); i++) {
    array.Set(static_cast<uint32_t>(i), Napi::Number::New(info.Env(), links[i]));
  }
  object.Set("links", array);
  return object;
}

// encodeDump(protocol, family, states, local | null, remote | null, remotePort, low, high, sequence) -> Buffer
Napi::Value EncodeDumpJs(const Napi::CallbackInfo& info) {
  DumpQuestion question;
  question.protocol = static_cast<uint8_t>(Number(info[0]));
  question.states = Number(info[2]);
  const auto ip = [&](size_t index) -> std::optional<Ip> {
    if (!info[index].IsString()) return std::nullopt;
    const std::string text = info[index].As<Napi::String>();
    const int family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
    return IpOf(AddressOf(info.Env(), Napi::Number::New(info.Env(), family), info[index], info[6]));
  };
  question.local = ip(3);
  question.remote = ip(4);
  question.remote_port = info[5].As<Napi::Number>();
  question.low = static_cast<uint16_t>(Number(info[6]));
  question.high = static_cast<uint16_t>(Number(info[7]));
  const auto bytes = EncodeDump(question, static_cast<int>(Number(info[1])), Number(info[8]));
  return Napi::Buffer<uint8_t>::Copy(info.Env(), bytes.data(), bytes.size());
}

// decodeDump(bytes, sequence) -> { errno, syscall, over, interrupted, holders, groups, timeWait }: through every sink
Napi::Value DecodeDumpJs(const Napi::CallbackInfo& info) {
  struct Sinks : DumpSink {
    PortBits all = PortBits().set();
    HolderSink holders;
    GroupSink groups = GroupSink(all, {});
    PortSink time_wait = PortSink(kTimeWait, {});
    void Restart() override {}
    void Add(const DumpedSocket& socket) override {
      holders.Add(socket);
      groups.Add(socket);
      time_wait.Add(socket);
    }
  } sinks;
  const Input input(info);
  bool interrupted = false;
  const Result result = DecodeDump(input.bytes, input.length, Number(info[1]), &sinks, &interrupted);
  Napi::Object object = Outcome(info.Env(), result);
  object.Set("over", result.ok() && result.value == 1);
  object.Set("interrupted", interrupted);
  const auto set = [&](const char* name, const Records& records) {
    object.Set(name, Napi::Buffer<uint8_t>::Copy(info.Env(), records.data(), records.size()));
  };
  set("holders", sinks.holders.Take());
  set("groups", sinks.groups.Take());
  set("timeWait", sinks.time_wait.Take());
  return object;
}

// countPorts(ports: Uint8Array of u16) -> { count, ports }
Napi::Value CountPortsJs(const Napi::CallbackInfo& info) {
  const Input input(info);
  PortSet set;
  for (size_t at = 0; at + 2 <= input.length; at += 2) {
    uint16_t port;
    std::memcpy(&port, input.bytes + at, sizeof port);
    set.Add(port);
  }
  const std::vector<uint16_t> ports = set.Ports();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("count", Napi::Number::New(info.Env(), set.Count()));
  object.Set("ports", Napi::Buffer<uint8_t>::Copy(info.Env(), reinterpret_cast<const uint8_t*>(ports.data()),
                                                  ports.size() * sizeof(uint16_t)));
  return object;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Guarded());
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  add("isInRange", IsInRangeJs);
  add("encodeDiagQuery", EncodeDiagQueryJs);
  add("decodeDiagAnswer", DecodeDiagAnswerJs);
  add("encodeRouteQuery", EncodeRouteQueryJs);
  add("decodeRouteAnswer", DecodeRouteAnswerJs);
  add("decodeLinks", DecodeLinksJs);
  add("encodeDump", EncodeDumpJs);
  add("decodeDump", DecodeDumpJs);
  add("countPorts", CountPortsJs);
  return exports;
}

}  // namespace

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)
