// The addon: what it exports. Only the files of this folder see Node-API, and they decide nothing. All state belongs to
// an environment, so worker threads may load the addon again.
#include "napi/arguments.h"
#include "napi/environment.h"
#include "napi/node_api.h"
#include "os.h"

namespace connectx {
namespace {

// Reading a slot costs JavaScript no call, and no object is made for an answer.
void ShareAnswers(Napi::Env env, Napi::Object* exports, Napi::Object* constants) {
  Napi::Int32Array answers = Napi::Int32Array::New(env, kAnswers);
  if (answers.IsEmpty()) return;
  auto* environment = env.GetInstanceData<Environment>();
  environment->shared_answers = Napi::Persistent(answers);
  environment->answers = answers.Data();
  exports->Set("answers", answers);
  AddConstants(constants, "answer",
               {{"port", Answer::kPort},
                {"assigned", Answer::kAssigned},
                {"place", Answer::kPlace},
                {"looked", Answer::kLooked},
                {"denied", Answer::kDenied}});
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  Napi::Object constants = Napi::Object::New(env);
  AddTcp(&exports, &constants);
  AddUdp(&exports, &constants);
  AddBatch(&exports, &constants);
  AddTable(&exports, &constants);
  AddSys(&exports);
  ShareAnswers(env, &exports, &constants);
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
