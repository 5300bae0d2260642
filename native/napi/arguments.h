// Arguments from JavaScript, and answers to it. Arguments arrive complete and validated from src/kernel/addon.ts; what
// is checked here is only what memory safety needs.
//
// A system call's outcome crosses as one number: the value, or -(errno + 4096 * index in `syscalls`). It costs no
// allocation, and the one place that turns it into an Error is src/errors/connectx_error.ts.
#ifndef CONNECTX_NAPI_ARGUMENTS_H
#define CONNECTX_NAPI_ARGUMENTS_H

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <vector>

#include "address.h"
#include "napi/node_api.h"
#include "os.h"
#include "socket_options.h"

namespace connectx {

// What a system call came to, as a number.
int Pack(const Result& result);
Napi::Value ToJs(const Napi::CallbackInfo& info, const Result& result);

// A thread that is being terminated may run no JavaScript, and to Node-API reading a property is that: it refuses. An
// empty value is as undefined then; what node-addon-api does with one where it expects another type is to end the
// process.
Napi::Value Property(const Napi::Object& object, const char* name);

int Int(const Napi::Value& value);
int Int(const Napi::CallbackInfo& info, size_t index);
uint32_t Uint(const Napi::CallbackInfo& info, size_t index);
bool Flag(const Napi::Value& value);
uint16_t Port(const Napi::CallbackInfo& info, size_t index);

// INET6_ADDRSTRLEN, '%', IF_NAMESIZE: longer text is no numeric address.
constexpr size_t kAddressText = 64;
// False for what is no string, has a NUL inside, or is too long.
bool Text(napi_env env, napi_value value, char (&text)[kAddressText]);

Result AddressArgument(const Napi::CallbackInfo& info, size_t index, int family, uint16_t port, Address* out);
Result OptionalAddressArgument(const Napi::CallbackInfo& info, size_t index, int family, uint16_t port,
                               std::optional<Address>* out);
// Four arguments from `first` on: local, localPort, remote, remotePort.
Result TupleArgument(const Napi::CallbackInfo& info, size_t first, int family, Address* local, Address* remote);
// Three arguments from `first` on: local, remote, remotePort.
Result EndsArgument(const Napi::CallbackInfo& info, size_t first, int family, Address* local, Address* remote);

// A Uint8Array, or a number as a C int. False for anything else, and when there are more bytes than
// setsockopt(2) can be told of.
bool Bytes(const Napi::Value& value, std::vector<uint8_t>* out);
Result ReadSettings(const Napi::Object& settings, SocketOptions* out);

// { family, address, port, scope? }
Napi::Value EndpointToJs(const Napi::CallbackInfo& info, const Address& address);

// Adds a function to what the addon exports.
using Function = Napi::Value (*)(const Napi::CallbackInfo&);
void Add(Napi::Object* exports, const char* name, Function function);

// A number that JavaScript reads or gives, of an enum or not.
struct Constant {
  template <typename Value>
  Constant(const char* named, Value of) : name(named), value(static_cast<int>(of)) {}
  const char* name;
  int value;
};
void AddConstants(Napi::Object* constants, const char* group, std::initializer_list<Constant> members);

}  // namespace connectx

#endif  // CONNECTX_NAPI_ARGUMENTS_H
