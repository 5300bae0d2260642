// The addon: what it exports. Only the files of this folder see Node-API, and they decide nothing. All state belongs to
// an environment, so worker threads may load the addon again.
#include "napi/arguments.h"
#include "napi/environment.h"
#include "napi/node_api.h"
#include "os.h"

namespace connectx {
namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  Napi::Object constants = Napi::Object::New(env);
  AddTcp(&exports, &constants);
  AddUdp(&exports, &constants);
  AddBatch(&exports, &constants);
  AddTable(&exports, &constants);
  AddSys(&exports);
  exports.Set("constants", constants);
  Napi::Array names = Napi::Array::New(env);
  for (uint32_t i = 0; i < static_cast<uint32_t>(Syscall::kCount); i++) names.Set(i, kSyscallNames[i]);
  exports.Set("syscalls", names);
  return exports;
}

}  // namespace
}  // namespace connectx

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports) { return connectx::Init(env, exports); }

NODE_API_MODULE(NODE_GYP_MODULE_NAME, InitAddon)
