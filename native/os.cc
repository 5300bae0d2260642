#include "os.h"

#include <fcntl.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace connectx {

const char* const kSyscallNames[static_cast<size_t>(Syscall::kCount)] = {
    "",           "socket",   "close",          "setsockopt",    "getsockopt",
    "bind",       "connect",  "getsockname",    "getpeername",   "dup3",
    "open",       "read",     "pread",          "stat",          "send",
    "recv",       "netlink",  "if_nametoindex", "epoll_create1", "epoll_ctl",
    "epoll_wait", "recvmmsg", "sendmsg",
};

void Fd::Reset() {
  // The descriptor is gone whatever close(2) answers (close(2), "Dealing with error returns"), so there is nothing to
  // do about an error, and a second try could close somebody else's.
  if (fd_ >= 0) static_cast<void>(::close(Release()));
}

namespace os {
namespace {

Result From(Syscall syscall, int returned) {
  return returned < 0 ? Result::Fail(syscall, errno) : Result::Ok(returned);
}

// The one place that deals with EINTR: only for calls that can be repeated as they are. connect(2) is not one of them
// (an interrupted connect goes on in the background); ours are non-blocking, so a signal cannot interrupt them.
template <typename Call>
Result Retry(Syscall syscall, Call call) {
  ssize_t returned;
  do {
    returned = call();
  } while (returned < 0 && errno == EINTR);
  return From(syscall, static_cast<int>(returned));
}

}  // namespace

Result Socket(int domain, int type, int protocol) {
  return From(Syscall::kSocket, ::socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

Result Close(int fd) {
  Result result = From(Syscall::kClose, ::close(fd));
  // Linux has released the descriptor before it reports EINTR or EINPROGRESS.
  if (result.error == EINTR || result.error == EINPROGRESS) return Result::Ok();
  return result;
}

Result Setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  return From(Syscall::kSetsockopt, ::setsockopt(fd, level, name, value, length));
}

Result Setsockopt(int fd, int level, int name, int value) { return Setsockopt(fd, level, name, &value, sizeof value); }

Result Getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  return From(Syscall::kGetsockopt, ::getsockopt(fd, level, name, value, length));
}

Result Bind(int fd, const sockaddr* address, socklen_t length) {
  return From(Syscall::kBind, ::bind(fd, address, length));
}

Result Connect(int fd, const sockaddr* address, socklen_t length) {
  return From(Syscall::kConnect, ::connect(fd, address, length));
}

Result Getsockname(int fd, sockaddr* address, socklen_t* length) {
  return From(Syscall::kGetsockname, ::getsockname(fd, address, length));
}

Result Getpeername(int fd, sockaddr* address, socklen_t* length) {
  return From(Syscall::kGetpeername, ::getpeername(fd, address, length));
}

Result Dup3(int from, int to) {
  return Retry(Syscall::kDup3, [&] { return ::dup3(from, to, O_CLOEXEC); });
}

Result Stat(const char* path, uint64_t* inode) {
  struct stat status = {};
  Result result = Retry(Syscall::kStat, [&] { return ::stat(path, &status); });
  if (result.ok()) *inode = status.st_ino;
  return result;
}

Result Send(int fd, const void* bytes, size_t length) {
  return Retry(Syscall::kSend, [&] { return ::send(fd, bytes, length, MSG_NOSIGNAL); });
}

Result Recv(int fd, void* bytes, size_t length) {
  // MSG_TRUNC makes the return value the true length of a datagram, so that a cut-off answer is noticed.
  return Retry(Syscall::kRecv, [&] { return ::recv(fd, bytes, length, MSG_TRUNC); });
}

Result RecvFrom(int fd, void* bytes, size_t length, int flags, sockaddr* from, socklen_t* from_length) {
  return Retry(Syscall::kRecv, [&] { return ::recvfrom(fd, bytes, length, flags, from, from_length); });
}

Result Open(const char* path) {
  return Retry(Syscall::kOpen, [&] { return ::open(path, O_RDONLY | O_CLOEXEC); });
}

Result Pread(int fd, char* bytes, size_t capacity) {
  return Retry(Syscall::kPread, [&] { return ::pread(fd, bytes, capacity, 0); });
}

Result ReadFile(const char* path, char* bytes, size_t capacity) {
  Result opened = Open(path);
  if (!opened.ok()) return opened;
  Fd file(opened.value);
  return Retry(Syscall::kRead, [&] { return ::read(file.get(), bytes, capacity); });
}

Result IfNameToIndex(const char* name) {
  unsigned int index = ::if_nametoindex(name);
  return index == 0 ? Result::Fail(Syscall::kIfNameToIndex, errno) : Result::Ok(static_cast<int>(index));
}

uint64_t ThreadNanoseconds() {
  timespec time = {};
  static_cast<void>(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time));
  return static_cast<uint64_t>(time.tv_sec) * 1000000000U + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t MonotonicMilliseconds() {
  timespec time = {};
  static_cast<void>(::clock_gettime(CLOCK_MONOTONIC, &time));
  return static_cast<uint64_t>(time.tv_sec) * 1000U + static_cast<uint64_t>(time.tv_nsec) / 1000000U;
}

Result EpollCreate1() { return From(Syscall::kEpollCreate1, ::epoll_create1(EPOLL_CLOEXEC)); }

Result EpollCtl(int epoll, int operation, int fd, epoll_event* event) {
  return From(Syscall::kEpollCtl, ::epoll_ctl(epoll, operation, fd, event));
}

Result EpollWait(int epoll, epoll_event* events, int most) {
  return Retry(Syscall::kEpollWait, [&] { return ::epoll_wait(epoll, events, most, 0); });
}

Result RecvMmsg(int fd, mmsghdr* messages, unsigned count) {
  return Retry(Syscall::kRecvMmsg, [&] { return ::recvmmsg(fd, messages, count, MSG_DONTWAIT, nullptr); });
}

Result SendMsg(int fd, const msghdr* message) {
  return Retry(Syscall::kSendMsg, [&] { return ::sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT); });
}

}  // namespace os
}  // namespace connectx
