// The kernel, one function per system call, each named after it and without policy. Every function that can fail
// returns a Result that names the call and the errno; nothing here throws, logs or retries (except EINTR, see os.cc).
#ifndef CONNECTX_OS_H
#define CONNECTX_OS_H

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace connectx {

// The system calls that a Result can name. The order is the order of kSyscallNames, which JavaScript reads.
enum class Syscall : uint8_t {
  kNone,
  kSocket,
  kClose,
  kSetsockopt,
  kGetsockopt,
  kBind,
  kConnect,
  kGetsockname,
  kGetpeername,
  kDup3,
  kOpen,
  kRead,
  kPread,
  kStat,
  kSend,
  kRecv,
  kNetlink,
  kIfNameToIndex,
  kEpollCreate1,
  kEpollCtl,
  kEpollWait,
  kRecvMmsg,
  kSendMsg,
  kCount,
};

extern const char* const kSyscallNames[static_cast<size_t>(Syscall::kCount)];

// What a system call gave: a value, or an errno and the call that gave it.
struct Result {
  int value = 0;
  int error = 0;
  Syscall syscall = Syscall::kNone;

  bool ok() const { return error == 0; }
  static Result Ok(int value = 0) { return Result{value, 0, Syscall::kNone}; }
  static Result Fail(Syscall syscall, int error) { return Result{-1, error, syscall}; }
};

// An owned descriptor: closed exactly once, unless released.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { Reset(); }
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = other.Release();
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset();

 private:
  int fd_ = -1;
};

namespace os {

// SOCK_CLOEXEC and SOCK_NONBLOCK are added: no descriptor of ours is ever inherited or blocks.
Result Socket(int domain, int type, int protocol);
Result Close(int fd);
Result Setsockopt(int fd, int level, int name, const void* value, socklen_t length);
Result Setsockopt(int fd, int level, int name, int value);
Result Getsockopt(int fd, int level, int name, void* value, socklen_t* length);
Result Bind(int fd, const sockaddr* address, socklen_t length);
Result Connect(int fd, const sockaddr* address, socklen_t length);
Result Getsockname(int fd, sockaddr* address, socklen_t* length);
Result Getpeername(int fd, sockaddr* address, socklen_t* length);
Result Dup3(int from, int to);
// Links are followed.
Result Stat(const char* path, uint64_t* inode);
Result Send(int fd, const void* bytes, size_t length);
Result Recv(int fd, void* bytes, size_t length);
Result RecvFrom(int fd, void* bytes, size_t length, int flags, sockaddr* from, socklen_t* from_length);
Result Open(const char* path);
// From the beginning of the file; value is the number of bytes read.
Result Pread(int fd, char* bytes, size_t capacity);
// The first `capacity` bytes of a small file such as one below /proc/sys; value is the number of bytes read.
Result ReadFile(const char* path, char* bytes, size_t capacity);
Result IfNameToIndex(const char* name);
// What the calling thread has had of a processor: one that has to wait for a processor has not done more.
uint64_t ThreadNanoseconds();
// For how long something has lasted: the clock that nobody sets.
uint64_t MonotonicMilliseconds();
Result EpollCreate1();
Result EpollCtl(int epoll, int operation, int fd, epoll_event* event);
// Does not wait: value is how many events there are now.
Result EpollWait(int epoll, epoll_event* events, int most);
// Does not wait: value is how many messages there were.
Result RecvMmsg(int fd, mmsghdr* messages, unsigned count);
Result SendMsg(int fd, const msghdr* message);

}  // namespace os
}  // namespace connectx

#endif  // CONNECTX_OS_H
