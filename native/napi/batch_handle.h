// A batch of UDP sockets in an event loop of Node's: one uv_poll for all of them.
#ifndef CONNECTX_NAPI_BATCH_HANDLE_H
#define CONNECTX_NAPI_BATCH_HANDLE_H

#include <uv.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "napi/node_api.h"
#include "udp/batch.h"

namespace connectx {

// What JavaScript has given: typed arrays, and the function that is called once a turn, with how many runs and how many
// events there are.
struct BatchArrays {
  napi_value memory;
  napi_value runs;
  napi_value events;
  napi_value on_turn;
};

// Lives until libuv has closed it, which is after Close(), or after the end of the environment has begun.
class BatchHandle {
 public:
  // Null with `result` set when it fails.
  static BatchHandle* Create(napi_env env, const BatchLimits& limits, const BatchArrays& arrays, Result* result);
  void Close();

  Batch& batch() { return batch_; }
  void SetReferenced(bool on);

  // Writes what has happened to the array of events; how many there are.
  size_t TakeEvents();

  // The memory of the runs of this turn: JavaScript may have taken it away (ArrayBuffer.prototype.transfer).
  bool Memory(uint8_t** bytes, size_t* length);

  BatchHandle(const BatchHandle&) = delete;
  BatchHandle& operator=(const BatchHandle&) = delete;

 private:
  explicit BatchHandle(napi_env env) : env_(env) {}
  ~BatchHandle() = default;

  Result Start(const BatchLimits& limits, const BatchArrays& arrays);
  void Turn();
  void Call(int32_t count, size_t told);
  bool WriteRuns();
  // Null: it is not a Uint32Array of this length any more.
  uint32_t* Columns(napi_ref array, size_t length);

  napi_env env_;
  Batch batch_;
  uv_poll_t poll_ = {};
  napi_ref memory_ = nullptr;
  napi_ref runs_ = nullptr;
  napi_ref events_ = nullptr;
  napi_ref on_turn_ = nullptr;
  napi_ref resource_ = nullptr;
  napi_async_context context_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool is_closing_ = false;
};

// Those of an environment, each with a number.
class BatchHandles {
 public:
  int Add(BatchHandle* handle);
  // Null: it is closed.
  BatchHandle* Get(int id) const;
  void Forget(int id) { handles_[static_cast<size_t>(id)] = nullptr; }

 private:
  std::vector<BatchHandle*> handles_;
};

}  // namespace connectx

#endif  // CONNECTX_NAPI_BATCH_HANDLE_H
