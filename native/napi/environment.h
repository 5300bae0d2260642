// What an environment keeps between calls; its descriptors are closed with it. Worker threads have one each.
#ifndef CONNECTX_NAPI_ENVIRONMENT_H
#define CONNECTX_NAPI_ENVIRONMENT_H

#include <cstddef>
#include <cstdint>

#include "address.h"
#include "napi/batch_handle.h"
#include "napi/node_api.h"
#include "napi/unadopted_socket.h"
#include "netlink/namespace_sockets.h"

namespace connectx {

// What a call answers beside its outcome. JavaScript reads it from one Int32Array, by these names, before the next
// call.
enum class Answer : uint8_t { kPort, kAssigned, kPlace, kLooked, kDenied, kCount };
constexpr size_t kAnswers = static_cast<size_t>(Answer::kCount);

struct Environment {
  NamespaceSockets udp;
  // Apart, because each of them tells its user when the thread has changed its network namespace.
  NamespaceSockets tcp;
  UnadoptedSocket unadopted;
  BatchHandles batches;
  // Of the UDP socket that was connected last.
  Address udp_peer;
  // What the lists of sockets have taken so far, in ns of a processor.
  uint64_t listing_ns = 0;
  // The memory of the Int32Array, which the reference keeps; where there is none, as in a thread that is being
  // terminated, nobody reads the answers.
  Napi::Reference<Napi::Int32Array> shared_answers;
  int32_t unread_answers[kAnswers] = {};
  int32_t* answers = unread_answers;
};

inline Environment* EnvironmentOf(const Napi::CallbackInfo& info) { return info.Env().GetInstanceData<Environment>(); }

inline void Tell(const Napi::CallbackInfo& info, Answer answer, int value) {
  EnvironmentOf(info)->answers[static_cast<size_t>(answer)] = value;
}

// One for each part of the addon: its functions, and the numbers that they take and answer with.
void AddTcp(Napi::Object* exports, Napi::Object* constants);
void AddUdp(Napi::Object* exports, Napi::Object* constants);
void AddBatch(Napi::Object* exports, Napi::Object* constants);
void AddTable(Napi::Object* exports, Napi::Object* constants);
void AddSys(Napi::Object* exports);

}  // namespace connectx

#endif  // CONNECTX_NAPI_ENVIRONMENT_H
