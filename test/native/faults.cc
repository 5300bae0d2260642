// For the tests: a kernel that refuses. With LD_PRELOAD its functions stand before the C library's; as an addon, the
// same file tells them what to do. Only what connectx.node calls is counted, refused or answered wrongly: Node's own
// calls, which come from elsewhere in memory, go straight on.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <node_api.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <string>
#include <vector>

namespace {

// What is to be done, and what has been seen. Threads of libuv's pool make calls, too.
struct State {
  std::mutex mutex;
  bool recording = false;
  std::vector<std::string> calls;

  std::string name;  // the call to be refused; empty: none
  int index = 0;     // which one of that name
  int error = 0;
  std::string answer;  // instead of `error`: what becomes of a netlink answer
  bool always = false;
  bool strangers = false;
  int64_t room = -1;  // what sendmsg(2) may still send, in bytes; -1: all
  int seen = 0;
  int hits = 0;
};

State& Now() {
  static State* state = new State();  // never destroyed: threads may outlive the end of the program
  return *state;
}

std::atomic<uintptr_t> addon_base{0};

// Where the addon's clock stands still, in ms; -1: it goes.
std::atomic<int64_t> stands_at{-1};

// Whether the caller is connectx.node.
bool IsAddon(const void* caller) {
  Dl_info info;
  const uintptr_t known = addon_base.load(std::memory_order_relaxed);
  if (dladdr(caller, &info) == 0 || info.dli_fname == nullptr) return false;
  const auto base = reinterpret_cast<uintptr_t>(info.dli_fbase);
  if (known != 0) return base == known;
  const char* slash = std::strrchr(info.dli_fname, '/');
  if (slash == nullptr || std::strcmp(slash, "/connectx.node") != 0) return false;
  addon_base.store(base, std::memory_order_relaxed);
  return true;
}

void Arm(State* state, const std::string& name, int index, const std::string& what, bool always) {
  state->name = name;
  state->index = index;
  char* end = nullptr;
  const long error = std::strtol(what.c_str(), &end, 10);
  const bool is_number = !what.empty() && *end == '\0';
  state->error = is_number ? static_cast<int>(error) : 0;
  state->answer = is_number ? "" : what;
  state->always = always;
  state->seen = 0;
  state->hits = 0;
}

// For programs that cannot be told: CONNECTX_TEST_FAULT is "recv 3 105", and CONNECTX_TEST_CALLS a file to write the
// calls to.
struct FromEnvironment {
  FromEnvironment() {
    if (std::getenv("CONNECTX_TEST_CALLS") != nullptr) Now().recording = true;
    const char* set = std::getenv("CONNECTX_TEST_FAULT");
    if (set == nullptr) return;
    const std::string text = set;
    const size_t first = text.find(' ');
    const size_t second = text.find(' ', first + 1);
    if (first == std::string::npos || second == std::string::npos) std::abort();
    Arm(&Now(), text.substr(0, first), std::atoi(text.c_str() + first), text.substr(second + 1), false);
  }
  ~FromEnvironment() {
    const char* file = std::getenv("CONNECTX_TEST_CALLS");
    if (file == nullptr) return;
    std::string text;
    for (const std::string& call : Now().calls) text += call + "\n";
    if (Now().hits > 0) text += "hit\n";
    const int fd = ::open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
    ::close(fd);
  }
} from_environment;

// What becomes of one call: 0, or the errno to fail with. `answer` is set where it is the answer that is to be changed.
int Fault(const char* name, const void* caller, std::string* answer = nullptr, const std::string& detail = "") {
  if (!IsAddon(caller)) return 0;
  State& state = Now();
  const std::lock_guard<std::mutex> lock(state.mutex);
  if (state.recording) state.calls.push_back(detail.empty() ? name : std::string(name) + " " + detail);
  if (state.name != name) return 0;
  const int seen = state.seen++;
  if (state.always ? seen < state.index : seen != state.index) return 0;
  if (!state.answer.empty() && answer == nullptr) return 0;
  state.hits++;
  if (answer != nullptr) *answer = state.answer;
  return state.error;
}

int Refuse(int error) {
  errno = error;
  return -1;
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// An NLMSG_ERROR or NLMSG_DONE in place of the first message, and nothing behind it.
ssize_t End(uint8_t* bytes, uint16_t type, int error) {
  nlmsghdr header;
  std::memcpy(&header, bytes, sizeof header);
  const bool done = type == NLMSG_DONE;
  nlmsgerr body = {};
  body.error = -error;
  header.nlmsg_len = done ? NLMSG_LENGTH(sizeof body.error) : NLMSG_LENGTH(sizeof body);
  header.nlmsg_type = type;
  std::memcpy(bytes, &header, sizeof header);
  std::memcpy(bytes + NLMSG_HDRLEN, &body, header.nlmsg_len - NLMSG_HDRLEN);
  return static_cast<ssize_t>(header.nlmsg_len);
}

// Where the messages of an answer begin.
std::vector<size_t> MessagesOf(const uint8_t* bytes, size_t length) {
  std::vector<size_t> starts;
  nlmsghdr header;
  for (size_t at = 0; at + sizeof header <= length;) {
    std::memcpy(&header, bytes + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > length - at) break;
    starts.push_back(at);
    at += NLMSG_ALIGN(static_cast<size_t>(header.nlmsg_len));
  }
  return starts;
}

// The last message first.
void Reorder(uint8_t* bytes, size_t length) {
  const std::vector<uint8_t> before(bytes, bytes + length);
  const std::vector<size_t> starts = MessagesOf(bytes, length);
  size_t at = 0;
  for (size_t i = starts.size(); i-- > 0;) {
    const size_t end = i + 1 < starts.size() ? starts[i + 1] : length;
    std::memcpy(bytes + at, before.data() + starts[i], end - starts[i]);
    at += end - starts[i];
  }
}

// An answer of the kernel, made into another one in a buffer of `capacity` bytes.
ssize_t Change(const std::string& what, uint8_t* bytes, size_t capacity, size_t length) {
  const auto same = static_cast<ssize_t>(length);
  nlmsghdr header;
  if (length < sizeof header) return same;
  if (what == "empty") return 0;
  if (what == "cut to the header") return static_cast<ssize_t>(sizeof header);
  if (what == "cut in half") {
    // Between two messages it would be another answer, and not one that was cut.
    const std::vector<size_t> starts = MessagesOf(bytes, length);
    const bool between = std::find(starts.begin(), starts.end(), length / 2) != starts.end();
    return same / 2 + (between ? 1 : 0);
  }
  if (what == "a byte short") return same - 1;
  if (what == "overlong") return static_cast<ssize_t>(capacity) + 1;
  if (what.rfind("error ", 0) == 0) return End(bytes, NLMSG_ERROR, std::atoi(what.c_str() + 6));
  if (what.rfind("done ", 0) == 0) return End(bytes, NLMSG_DONE, std::atoi(what.c_str() + 5));
  if (what == "reordered") {
    Reorder(bytes, length);
    return same;
  }
  if (what == "twice") {
    if (length * 2 > capacity) return same;
    std::memcpy(bytes + length, bytes, length);
    return same * 2;
  }
  if (what == "zeros") {
    std::memset(bytes, 0, length);
    return same;
  }
  if (what == "ones") {
    std::memset(bytes, 0xff, length);
    return same;
  }
  for (const size_t at : MessagesOf(bytes, length)) {
    std::memcpy(&header, bytes + at, sizeof header);
    const bool has_body = header.nlmsg_len > sizeof header;
    if (what == "another sequence") header.nlmsg_seq++;
    if (what == "another port id") header.nlmsg_pid++;
    if (what == "another type") header.nlmsg_type++;
    if (what == "nothing to say") header.nlmsg_type = NLMSG_NOOP;
    if (what == "interrupted") header.nlmsg_flags |= NLM_F_DUMP_INTR;
    if (what == "too long a message") header.nlmsg_len = static_cast<uint32_t>(length + 1);
    if (what == "too short a message") header.nlmsg_len = sizeof header - 1;
    // The family is the first byte of what sock_diag and rtnetlink answer with.
    if (what == "another family" && has_body) bytes[at + sizeof header] ^= 8;
    if (what == "no family" && has_body) bytes[at + sizeof header] = 0;
    std::memcpy(bytes + at, &header, sizeof header);
  }
  return same;
}

// A datagram from somebody else to the socket, which is bound and not yet connected.
void SendStranger(int fd) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  int type = 0;
  socklen_t type_length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) != 0 || type != SOCK_DGRAM) return;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
  const int stranger = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (stranger < 0) return;
  static_cast<void>(sendto(stranger, "stranger", 8, 0, reinterpret_cast<sockaddr*>(&address), length));
  close(stranger);
}

// Of a send buffer that takes a message whole or not at all.
bool HasRoom(const msghdr& message) {
  State& state = Now();
  const std::lock_guard<std::mutex> lock(state.mutex);
  if (state.room < 0) return true;
  int64_t bytes = 0;
  for (size_t i = 0; i < message.msg_iovlen; i++) bytes += static_cast<int64_t>(message.msg_iov[i].iov_len);
  if (bytes > state.room) return false;
  state.room -= bytes;
  return true;
}

std::string Numbers(int one, int other) { return std::to_string(one) + "/" + std::to_string(other); }

}  // namespace

#define CALLER __builtin_extract_return_addr(__builtin_return_address(0))
#define EXPORT extern "C" __attribute__((visibility("default"), noinline))

EXPORT int socket(int domain, int type, int protocol) {
  static const auto real = Real<int (*)(int, int, int)>("socket");
  const int error = Fault("socket", CALLER, nullptr, Numbers(domain, protocol));
  return error != 0 ? Refuse(error) : real(domain, type, protocol);
}

EXPORT int close(int fd) {
  static const auto real = Real<int (*)(int)>("close");
  const int error = Fault("close", CALLER);
  // Linux releases the descriptor in every case.
  const int status = real(fd);
  return error != 0 ? Refuse(error) : status;
}

EXPORT int setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  static const auto real = Real<int (*)(int, int, int, const void*, socklen_t)>("setsockopt");
  const int error = Fault("setsockopt", CALLER, nullptr, Numbers(level, name));
  return error != 0 ? Refuse(error) : real(fd, level, name, value, length);
}

EXPORT int getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  static const auto real = Real<int (*)(int, int, int, void*, socklen_t*)>("getsockopt");
  const int error = Fault("getsockopt", CALLER, nullptr, Numbers(level, name));
  return error != 0 ? Refuse(error) : real(fd, level, name, value, length);
}

EXPORT int bind(int fd, const sockaddr* address, socklen_t length) {
  static const auto real = Real<int (*)(int, const sockaddr*, socklen_t)>("bind");
  const int error = Fault("bind", CALLER);
  return error != 0 ? Refuse(error) : real(fd, address, length);
}

EXPORT int connect(int fd, const sockaddr* address, socklen_t length) {
  static const auto real = Real<int (*)(int, const sockaddr*, socklen_t)>("connect");
  const int error = Fault("connect", CALLER);
  if (IsAddon(CALLER) && Now().strangers) SendStranger(fd);
  return error != 0 ? Refuse(error) : real(fd, address, length);
}

EXPORT int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
  static const auto real = Real<int (*)(int, sockaddr*, socklen_t*)>("getsockname");
  const int error = Fault("getsockname", CALLER);
  return error != 0 ? Refuse(error) : real(fd, address, length);
}

EXPORT int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept {
  static const auto real = Real<int (*)(int, sockaddr*, socklen_t*)>("getpeername");
  const int error = Fault("getpeername", CALLER);
  return error != 0 ? Refuse(error) : real(fd, address, length);
}

EXPORT int dup3(int from, int to, int flags) noexcept {
  static const auto real = Real<int (*)(int, int, int)>("dup3");
  const int error = Fault("dup3", CALLER);
  return error != 0 ? Refuse(error) : real(from, to, flags);
}

EXPORT int open64(const char* path, int flags, ...) {
  static const auto real = Real<int (*)(const char*, int, ...)>("open64");
  va_list rest;
  va_start(rest, flags);
  const mode_t mode =
      (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;  // NOLINT(clang-analyzer-valist.Uninitialized)
  va_end(rest);
  const int error = Fault("open", CALLER, nullptr, path);
  return error != 0 ? Refuse(error) : real(path, flags, mode);
}

EXPORT ssize_t read(int fd, void* bytes, size_t length) {
  static const auto real = Real<ssize_t (*)(int, void*, size_t)>("read");
  const int error = Fault("read", CALLER);
  return error != 0 ? Refuse(error) : real(fd, bytes, length);
}

// By the name of pread64: node-gyp defines _FILE_OFFSET_BITS=64.
EXPORT ssize_t pread(int fd, void* bytes, size_t length, off_t offset) {
  static const auto real = Real<ssize_t (*)(int, void*, size_t, off_t)>("pread64");
  const int error = Fault("pread", CALLER);
  return error != 0 ? Refuse(error) : real(fd, bytes, length, offset);
}

EXPORT ssize_t send(int fd, const void* bytes, size_t length, int flags) {
  static const auto real = Real<ssize_t (*)(int, const void*, size_t, int)>("send");
  const int error = Fault("send", CALLER);
  return error != 0 ? Refuse(error) : real(fd, bytes, length, flags);
}

EXPORT ssize_t recv(int fd, void* bytes, size_t length, int flags) {
  static const auto real = Real<ssize_t (*)(int, void*, size_t, int)>("recv");
  std::string what;
  const int error = Fault("recv", CALLER, &what);
  // The answer stays where it is: it is there when the next question has been asked.
  if (error != 0) return Refuse(error);
  const ssize_t received = real(fd, bytes, length, flags);
  if (what.empty() || received < 0) return received;
  return Change(what, static_cast<uint8_t*>(bytes), length, static_cast<size_t>(received));
}

EXPORT ssize_t recvfrom(int fd, void* bytes, size_t length, int flags, sockaddr* from, socklen_t* from_length) {
  static const auto real = Real<ssize_t (*)(int, void*, size_t, int, sockaddr*, socklen_t*)>("recvfrom");
  const int error = Fault("recvfrom", CALLER);
  return error != 0 ? Refuse(error) : real(fd, bytes, length, flags, from, from_length);
}

EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static const auto real = Real<ssize_t (*)(int, const msghdr*, int)>("sendmsg");
  const int error = Fault("sendmsg", CALLER);
  if (error != 0) return Refuse(error);
  if (IsAddon(CALLER) && !HasRoom(*message)) return Refuse(EAGAIN);
  return real(fd, message, flags);
}

EXPORT int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, timespec* timeout) {
  static const auto real = Real<int (*)(int, mmsghdr*, unsigned int, int, timespec*)>("recvmmsg");
  const int error = Fault("recvmmsg", CALLER);
  return error != 0 ? Refuse(error) : real(fd, messages, count, flags, timeout);
}

EXPORT int epoll_create1(int flags) noexcept {
  static const auto real = Real<int (*)(int)>("epoll_create1");
  const int error = Fault("epoll_create1", CALLER);
  return error != 0 ? Refuse(error) : real(flags);
}

EXPORT int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  static const auto real = Real<int (*)(int, int, int, epoll_event*)>("epoll_ctl");
  const int error = Fault("epoll_ctl", CALLER, nullptr, std::to_string(operation));
  return error != 0 ? Refuse(error) : real(epoll, operation, fd, event);
}

EXPORT int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  static const auto real = Real<int (*)(int, epoll_event*, int, int)>("epoll_wait");
  const int error = Fault("epoll_wait", CALLER);
  return error != 0 ? Refuse(error) : real(epoll, events, most, timeout);
}

EXPORT int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const auto real = Real<int (*)(clockid_t, timespec*)>("clock_gettime");
  const int64_t ms = stands_at.load(std::memory_order_relaxed);
  // Node asks all the time.
  if (ms < 0 || clock != CLOCK_MONOTONIC || !IsAddon(CALLER)) return real(clock, time);
  *time = {ms / 1000, ms % 1000 * 1000000};
  return 0;
}

EXPORT int fstat64(int fd, struct stat64* status) noexcept {
  static const auto real = Real<int (*)(int, struct stat64*)>("fstat64");
  const int error = Fault("fstat", CALLER);
  return error != 0 ? Refuse(error) : real(fd, status);
}

EXPORT unsigned int if_nametoindex(const char* name) noexcept {
  static const auto real = Real<unsigned int (*)(const char*)>("if_nametoindex");
  const int error = Fault("if_nametoindex", CALLER);
  if (error == 0) return real(name);
  errno = error;
  return 0;
}

namespace {

std::string Text(napi_env env, napi_value value) {
  char text[128] = "";
  size_t length = 0;
  napi_get_value_string_utf8(env, value, text, sizeof text, &length);
  return text;
}

// arm(name, index, errno as text | what becomes of the answer, always)
napi_value ArmJs(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  int32_t index = 0;
  bool always = false;
  napi_get_value_int32(env, arguments[1], &index);
  napi_get_value_bool(env, arguments[3], &always);
  const std::string name = Text(env, arguments[0]);
  const std::string what = Text(env, arguments[2]);
  State& state = Now();
  const std::lock_guard<std::mutex> lock(state.mutex);
  Arm(&state, name, index, what, always);
  return nullptr;
}

// disarm() -> how often the fault came about
napi_value DisarmJs(napi_env env, napi_callback_info) {
  State& state = Now();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.name.clear();
  napi_value result;
  napi_create_int32(env, state.hits, &result);
  return result;
}

// record(): from now on; stop() -> the calls, e.g. "setsockopt 1/2"
napi_value RecordJs(napi_env, napi_callback_info) {
  State& state = Now();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.calls.clear();
  state.recording = true;
  return nullptr;
}

// strangers(whether): one speaks to each UDP socket right before the addon connects it
napi_value StrangersJs(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_value_bool(env, argument, &Now().strangers);
  return nullptr;
}

// room(bytes): sendmsg(2) of the addon takes so many, and is EAGAIN beyond; -1: no more of that
napi_value RoomJs(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  State& state = Now();
  const std::lock_guard<std::mutex> lock(state.mutex);
  napi_get_value_int64(env, argument, &state.room);
  return nullptr;
}

// clock(ms): there the addon's clock stands still; -1: it goes
napi_value ClockJs(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int64_t ms = -1;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_value_int64(env, argument, &ms);
  stands_at.store(ms);
  return nullptr;
}

napi_value StopJs(napi_env env, napi_callback_info) {
  State& state = Now();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.recording = false;
  napi_value array;
  napi_create_array_with_length(env, state.calls.size(), &array);
  for (size_t i = 0; i < state.calls.size(); i++) {
    napi_value text;
    napi_create_string_utf8(env, state.calls[i].c_str(), NAPI_AUTO_LENGTH, &text);
    napi_set_element(env, array, static_cast<uint32_t>(i), text);
  }
  return array;
}

}  // namespace

NAPI_MODULE_INIT() {
  const auto add = [&](const char* name, napi_callback call) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  };
  add("arm", ArmJs);
  add("disarm", DisarmJs);
  add("record", RecordJs);
  add("stop", StopJs);
  add("strangers", StrangersJs);
  add("room", RoomJs);
  add("clock", ClockJs);
  return exports;
}
