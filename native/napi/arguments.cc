#include "napi/arguments.h"

#include <cerrno>
#include <climits>
#include <cstring>

namespace connectx {
namespace {

constexpr int kErrnoLimit = 4096;  // MAX_ERRNO of the kernel is 4095

}  // namespace

int Pack(const Result& result) {
  if (result.ok()) return result.value;
  return -(result.error + kErrnoLimit * static_cast<int>(result.syscall));
}

Napi::Value ToJs(const Napi::CallbackInfo& info, const Result& result) {
  return Napi::Number::New(info.Env(), Pack(result));
}

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

uint32_t Uint(const Napi::CallbackInfo& info, size_t index) {
  uint32_t number = 0;
  napi_get_value_uint32(info.Env(), info[index], &number);
  return number;
}

bool Flag(const Napi::Value& value) {
  bool flag = false;
  napi_get_value_bool(value.Env(), value, &flag);
  return flag;
}

uint16_t Port(const Napi::CallbackInfo& info, size_t index) { return static_cast<uint16_t>(Int(info, index)); }

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

Result TupleArgument(const Napi::CallbackInfo& info, size_t first, int family, Address* local, Address* remote) {
  Result result = AddressArgument(info, first, family, Port(info, first + 1), local);
  return result.ok() ? AddressArgument(info, first + 2, family, Port(info, first + 3), remote) : result;
}

Result EndsArgument(const Napi::CallbackInfo& info, size_t first, int family, Address* local, Address* remote) {
  Result result = AddressArgument(info, first, family, 0, local);
  return result.ok() ? AddressArgument(info, first + 1, family, Port(info, first + 2), remote) : result;
}

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
  } else if (napi_get_value_int32(value.Env(), value, &number) != napi_ok) {
    // A Proxy of an array, say.
    return false;
  }
  const auto* bytes = static_cast<const uint8_t*>(data);
  if (length > 0) out->assign(bytes, bytes + length);
  return true;
}

Result ReadSettings(const Napi::Object& settings, SocketOptions* out) {
  out->free_bind = Flag(Property(settings, "freeBind"));
  out->transparent = Flag(Property(settings, "transparent"));
  Napi::Value interface = Property(settings, "interface");
  if (interface.IsString()) out->interface = interface.As<Napi::String>();
  Napi::Value mark = Property(settings, "mark");
  if (mark.IsNumber()) out->mark = mark.As<Napi::Number>().Uint32Value();
  Napi::Value options = Property(settings, "socketOptions");
  if (!options.IsArray()) return Result::Ok();
  Napi::Array array = options.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    napi_value element = nullptr;
    napi_get_element(array.Env(), array, i, &element);
    const Napi::Object option(array.Env(), element);
    SocketOption& read = out->others.emplace_back();
    read.level = Int(Property(option, "level"));
    read.name = Int(Property(option, "name"));
    if (!Bytes(Property(option, "value"), &read.value)) return Result::Fail(Syscall::kSetsockopt, EINVAL);
  }
  return Result::Ok();
}

Napi::Value EndpointToJs(const Napi::CallbackInfo& info, const Address& address) {
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("family", Napi::String::New(info.Env(), address.family() == AF_INET ? "IPv4" : "IPv6"));
  object.Set("address", Napi::String::New(info.Env(), address.Text()));
  object.Set("port", Napi::Number::New(info.Env(), address.port()));
  if (address.scope() != 0) object.Set("scope", Napi::Number::New(info.Env(), address.scope()));
  return object;
}

void Add(Napi::Object* exports, const char* name, Function function) {
  exports->Set(name, Napi::Function::New(exports->Env(), function, name));
}

void AddConstants(Napi::Object* constants, const char* group, std::initializer_list<Constant> members) {
  Napi::Object object = Napi::Object::New(constants->Env());
  for (const Constant& member : members) object.Set(member.name, Napi::Number::New(constants->Env(), member.value));
  constants->Set(group, object);
}

}  // namespace connectx
