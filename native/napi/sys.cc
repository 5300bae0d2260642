// One function for a system call: unpack, call, answer.
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>
#include <vector>

#include "address.h"
#include "napi/arguments.h"
#include "napi/environment.h"
#include "os.h"
#include "socket_options.h"

namespace connectx {
namespace {

constexpr size_t kFileBytes = 4096;

// All that JavaScript may have read. Node's permission model does not see what an addon opens, so whoever gets at this
// function must not get at files by it.
constexpr const char* kReadable[] = {
    "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/net/ipv4/ip_local_reserved_ports",
    "/proc/sys/net/ipv4/tcp_timestamps",      "/proc/sys/net/ipv4/tcp_tw_reuse",
    "/proc/thread-self/net/sockstat",         "/proc/thread-self/net/sockstat6",
};

bool IsReadable(const std::string& path) {
  return std::any_of(std::begin(kReadable), std::end(kReadable), [&](const char* known) { return path == known; });
}

// readFile(path) -> string | number: the first 4096 bytes of a small /proc file, read on the calling thread, so that it
// is the calling thread's network namespace that answers below /proc/sys/net. Any other file is EACCES.
Napi::Value ReadFileJs(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  if (!IsReadable(path)) return ToJs(info, Result::Fail(Syscall::kOpen, EACCES));
  char bytes[kFileBytes];
  Result result = os::ReadFile(path.c_str(), bytes, sizeof bytes);
  if (!result.ok()) return ToJs(info, result);
  return Napi::String::New(info.Env(), bytes, static_cast<size_t>(result.value));
}

Napi::Value InterfaceIndexJs(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  return ToJs(info, InterfaceIndex(name));
}

// replace(from, to): `to` becomes what `from` is, and `from` is closed, whatever happens.
Napi::Value ReplaceJs(const Napi::CallbackInfo& info) {
  Fd from(Int(info, 0));
  return ToJs(info, os::Dup3(from.get(), Int(info, 1)));
}

Napi::Value SocketJs(const Napi::CallbackInfo& info) {
  return ToJs(info, os::Socket(Int(info, 0), Int(info, 1), Int(info, 2)));
}

// Refuses a descriptor that is no socket: a wrong number must not close somebody's file or pipe. Where the kernel does
// not say what it is (a sandbox may forbid the question), it is closed: a socket must not stay open for want of an
// answer.
Napi::Value CloseJs(const Napi::CallbackInfo& info) {
  const int error = CheckIsSocket(Int(info, 0)).error;
  const bool is_socket = error != ENOTSOCK && error != EBADF;
  return ToJs(info, is_socket ? os::Close(Int(info, 0)) : Result::Fail(Syscall::kClose, error));
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
  std::vector<uint8_t> value(static_cast<size_t>(capacity < 0 ? 0 : capacity));
  Result result = GetOption(Int(info, 0), Int(info, 1), Int(info, 2), &value);
  if (!result.ok()) return ToJs(info, result);
  return Napi::Buffer<uint8_t>::Copy(info.Env(), value.data(), value.size());
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
  return EndpointToJs(info, address);
}

Napi::Value GetsocknameJs(const Napi::CallbackInfo& info) { return Endpoint(info, LocalAddress); }
Napi::Value GetpeernameJs(const Napi::CallbackInfo& info) { return Endpoint(info, PeerAddress); }

}  // namespace

void AddSys(Napi::Object* exports) {
  Add(exports, "readFile", ReadFileJs);
  Add(exports, "interfaceIndex", InterfaceIndexJs);
  Add(exports, "replace", ReplaceJs);
  Add(exports, "socket", SocketJs);
  Add(exports, "close", CloseJs);
  Add(exports, "setsockopt", SetsockoptJs);
  Add(exports, "getsockopt", GetsockoptJs);
  Add(exports, "bind", BindJs);
  Add(exports, "connect", ConnectJs);
  Add(exports, "getsockname", GetsocknameJs);
  Add(exports, "getpeername", GetpeernameJs);
}

}  // namespace connectx
