// Work off the event loop, as a promise.
#ifndef CONNECTX_NAPI_BACKGROUND_H
#define CONNECTX_NAPI_BACKGROUND_H

#include <memory>
#include <utility>

#include "napi/node_api.h"

namespace connectx {

// Runs `Job::Run()` on libuv's thread pool and resolves the promise with `Job::Value(env)`. The job is destroyed with
// all that it owns in every case: an environment that is torn down (worker.terminate()) waits for work under way and
// completes it, but nothing can be resolved any more.
template <typename Job>
napi_value InBackground(napi_env env, const char* name, std::unique_ptr<Job> job) {
  struct Work {
    std::unique_ptr<Job> job;
    napi_async_work work = nullptr;
    napi_deferred deferred = nullptr;
  };
  auto work = std::make_unique<Work>();
  work->job = std::move(job);
  napi_value promise = nullptr;
  napi_value label = nullptr;
  const auto execute = [](napi_env, void* data) { static_cast<Work*>(data)->job->Run(); };
  const auto complete = [](napi_env env, napi_status, void* data) {
    const std::unique_ptr<Work> done(static_cast<Work*>(data));
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return;
    // A failure of any of these means that there is nobody left to tell.
    napi_value value = done->job->Value(env);
    if (value != nullptr) static_cast<void>(napi_resolve_deferred(env, done->deferred, value));
    static_cast<void>(napi_delete_async_work(env, done->work));
    static_cast<void>(napi_close_handle_scope(env, scope));
  };
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label) != napi_ok) return nullptr;
  if (napi_create_promise(env, &work->deferred, &promise) != napi_ok) return nullptr;
  if (napi_create_async_work(env, nullptr, label, execute, complete, work.get(), &work->work) != napi_ok) {
    return nullptr;
  }
  if (napi_queue_async_work(env, work->work) != napi_ok) {
    static_cast<void>(napi_delete_async_work(env, work->work));
    return nullptr;
  }
  static_cast<void>(work.release());
  return promise;
}

}  // namespace connectx

#endif  // CONNECTX_NAPI_BACKGROUND_H
