// For the tests: the calling thread into a new network namespace, and back into one that it was in before.
#include <fcntl.h>
#include <node_api.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>

namespace {

napi_value Number(napi_env env, int value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

// enter() -> a descriptor of the namespace that the thread was in, or -errno
napi_value Enter(napi_env env, napi_callback_info) {
  const int before = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (before < 0) return Number(env, -errno);
  if (unshare(CLONE_NEWNET) != 0) {
    const int error = errno;
    close(before);
    return Number(env, -error);
  }
  return Number(env, before);
}

// leave(descriptor) -> 0 or -errno; the descriptor is closed
napi_value Leave(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  int32_t fd = -1;
  napi_get_value_int32(env, argument, &fd);
  const int error = setns(fd, CLONE_NEWNET) == 0 ? 0 : errno;
  close(fd);
  return Number(env, -error);
}

napi_value Init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "enter", NAPI_AUTO_LENGTH, Enter, nullptr, &function);
  napi_set_named_property(env, exports, "enter", function);
  napi_create_function(env, "leave", NAPI_AUTO_LENGTH, Leave, nullptr, &function);
  napi_set_named_property(env, exports, "leave", function);
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, Init)
