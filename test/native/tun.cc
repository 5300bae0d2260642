// For the tests: a network interface whose packets a program reads and writes (Linux, tun.rst).
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <node_api.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace {

// open(name) -> a descriptor of the interface, which is there as long as that is open, or -errno
napi_value Open(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  ifreq request{};
  size_t length = 0;
  napi_get_value_string_utf8(env, argument, request.ifr_name, sizeof request.ifr_name, &length);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    fd = -errno;
  } else if (ioctl(fd, TUNSETIFF, &request) != 0) {
    const int error = errno;
    close(fd);
    fd = -error;
  }
  napi_value result;
  napi_create_int32(env, fd, &result);
  return result;
}

napi_value Init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "open", NAPI_AUTO_LENGTH, Open, nullptr, &function);
  napi_set_named_property(env, exports, "open", function);
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, Init)
