#include "napi/batch_handle.h"

#include <cerrno>
#include <cstring>

#include "napi/environment.h"

// Runtimes that load addons and are not Node may not have these. They are never called there.
#pragma weak uv_poll_init
#pragma weak uv_poll_start
#pragma weak uv_close
#pragma weak uv_ref
#pragma weak uv_unref

namespace connectx {
namespace {

bool HasLibuv() {
  return &uv_poll_init != nullptr && &uv_poll_start != nullptr && &uv_close != nullptr && &uv_ref != nullptr &&
         &uv_unref != nullptr;
}

bool Keep(napi_env env, napi_value value, napi_ref* out) {
  return napi_create_reference(env, value, 1, out) == napi_ok;
}

void Drop(napi_env env, napi_ref* reference) {
  if (*reference != nullptr) static_cast<void>(napi_delete_reference(env, *reference));
  *reference = nullptr;
}

}  // namespace

BatchHandle* BatchHandle::Create(napi_env env, const BatchLimits& limits, const BatchArrays& arrays, Result* result) {
  if (!HasLibuv()) {
    *result = Result::Fail(Syscall::kNone, ENOSYS);
    return nullptr;
  }
  auto* handle = new BatchHandle(env);
  *result = handle->batch_.Open(limits);
  if (result->ok()) {
    uv_loop_s* loop = nullptr;
    int failed = napi_get_uv_event_loop(env, &loop) == napi_ok ? 0 : UV_ENOSYS;
    if (failed == 0) failed = uv_poll_init(loop, &handle->poll_, handle->batch_.poll_fd());
    if (failed != 0) *result = Result::Fail(Syscall::kEpollCtl, -failed);
  }
  if (!result->ok()) {
    delete handle;
    return nullptr;
  }
  handle->poll_.data = handle;
  *result = handle->Start(limits, arrays);
  if (result->ok()) return handle;
  handle->Close();
  return nullptr;
}

Result BatchHandle::Start(const BatchLimits& /*limits*/, const BatchArrays& arrays) {
  napi_value resource = nullptr;
  napi_value name = nullptr;
  const auto cleanup = [](napi_async_cleanup_hook_handle, void* data) {
    auto* handle = static_cast<BatchHandle*>(data);
    if (!handle->is_closing_) handle->Close();
  };
  const bool kept = Keep(env_, arrays.memory, &memory_) && Keep(env_, arrays.runs, &runs_) &&
                    Keep(env_, arrays.events, &events_) && Keep(env_, arrays.on_turn, &on_turn_) &&
                    napi_create_object(env_, &resource) == napi_ok && Keep(env_, resource, &resource_) &&
                    napi_create_string_utf8(env_, "connectx.UdpBatch", NAPI_AUTO_LENGTH, &name) == napi_ok &&
                    napi_async_init(env_, resource, name, &context_) == napi_ok &&
                    napi_add_async_cleanup_hook(env_, cleanup, this, &hook_) == napi_ok;
  if (!kept) return Result::Fail(Syscall::kNone, ENOMEM);
  const auto on_ready = [](uv_poll_t* poll, int /*status*/, int /*events*/) {
    static_cast<BatchHandle*>(poll->data)->Turn();
  };
  const int failed = uv_poll_start(&poll_, UV_READABLE, on_ready);
  return failed == 0 ? Result::Ok() : Result::Fail(Syscall::kEpollCtl, -failed);
}

void BatchHandle::Close() {
  is_closing_ = true;
  for (napi_ref* reference : {&memory_, &runs_, &events_, &on_turn_, &resource_}) Drop(env_, reference);
  if (context_ != nullptr) static_cast<void>(napi_async_destroy(env_, context_));
  context_ = nullptr;
  // The sockets are closed at once, so that their ports are free; epoll's descriptor when libuv has let go of it.
  batch_.CloseSockets();
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), [](uv_handle_t* closed) {
    auto* handle = static_cast<BatchHandle*>(closed->data);
    if (handle->hook_ != nullptr) static_cast<void>(napi_remove_async_cleanup_hook(handle->hook_));
    delete handle;
  });
}

void BatchHandle::SetReferenced(bool on) {
  auto* handle = reinterpret_cast<uv_handle_t*>(&poll_);
  if (on) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

bool BatchHandle::Memory(uint8_t** bytes, size_t* length) {
  napi_value array = nullptr;
  void* data = nullptr;
  napi_typedarray_type type = napi_int8_array;
  if (memory_ == nullptr || napi_get_reference_value(env_, memory_, &array) != napi_ok || array == nullptr)
    return false;
  if (napi_get_typedarray_info(env_, array, &type, length, &data, nullptr, nullptr) != napi_ok) return false;
  *bytes = static_cast<uint8_t*>(data);
  return type == napi_uint8_array && data != nullptr;
}

uint32_t* BatchHandle::Columns(napi_ref array, size_t length) {
  napi_value value = nullptr;
  void* data = nullptr;
  size_t there = 0;
  napi_typedarray_type type = napi_int8_array;
  if (array == nullptr || napi_get_reference_value(env_, array, &value) != napi_ok || value == nullptr) return nullptr;
  if (napi_get_typedarray_info(env_, value, &type, &there, &data, nullptr, nullptr) != napi_ok) return nullptr;
  return type == napi_uint32_array && there >= length ? static_cast<uint32_t*>(data) : nullptr;
}

bool BatchHandle::WriteRuns() {
  const std::vector<BatchRun>& runs = batch_.runs();
  uint32_t* column = Columns(runs_, 5 * Batch::kRuns);
  if (column == nullptr) return false;
  for (const auto member :
       {&BatchRun::offset, &BatchRun::length, &BatchRun::segment, &BatchRun::socket, &BatchRun::peer}) {
    for (size_t i = 0; i < runs.size(); i++) column[i] = runs[i].*member;
    column += Batch::kRuns;
  }
  return true;
}

size_t BatchHandle::TakeEvents() {
  std::vector<BatchEvent>& events = batch_.events();
  const size_t count = events.size();
  uint32_t* values = Columns(events_, 2 * count);
  if (values == nullptr) return 0;
  for (const BatchEvent& event : events) {
    *values++ = event.socket;
    *values++ = static_cast<uint32_t>(event.error);
  }
  events.clear();
  return count;
}

void BatchHandle::Turn() {
  if (is_closing_) return;
  napi_handle_scope scope = nullptr;
  // It fails only while the environment ends.
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  uint8_t* memory = nullptr;
  size_t length = 0;
  bool is_there = Memory(&memory, &length);
  if (is_there) batch_.Receive(memory, length);
  const size_t count = is_there ? batch_.runs().size() : 0;
  is_there = is_there && WriteRuns();
  const size_t told = TakeEvents();
  if (count > 0 || told > 0 || !is_there) Call(is_there ? static_cast<int32_t>(count) : -1, told);
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

// Afterwards it may be closed, and the environment may be ending. libuv deletes it later.
void BatchHandle::Call(int32_t count, size_t told) {
  napi_value arguments[2];
  napi_value function = nullptr;
  napi_value resource = nullptr;
  const bool ready = napi_create_int32(env_, count, &arguments[0]) == napi_ok &&
                     napi_create_uint32(env_, static_cast<uint32_t>(told), &arguments[1]) == napi_ok &&
                     napi_get_reference_value(env_, on_turn_, &function) == napi_ok &&
                     napi_get_reference_value(env_, resource_, &resource) == napi_ok;
  if (!ready) return;
  const napi_status status = napi_make_callback(env_, context_, resource, function, 2, arguments, nullptr);
  napi_value exception = nullptr;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env_, &exception) == napi_ok) {
    static_cast<void>(napi_fatal_exception(env_, exception));
  }
}

int BatchHandles::Add(BatchHandle* handle) {
  // A number is not given again: a connect that is under way when its batch is closed still has it.
  handles_.push_back(handle);
  return static_cast<int>(handles_.size() - 1);
}

BatchHandle* BatchHandles::Get(int id) const {
  return id >= 0 && static_cast<size_t>(id) < handles_.size() ? handles_[static_cast<size_t>(id)] : nullptr;
}

}  // namespace connectx
