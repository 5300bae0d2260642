// The sockets of a batch. How they are read is in batch_receive.cc, how they are written in batch_send.cc.
#include "udp/batch.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "udp/offload.h"

#ifndef SO_MEMINFO
#define SO_MEMINFO 55  // Linux 4.12
#endif

namespace connectx {

Result Batch::Open(const BatchLimits& limits) {
  limits_ = limits;
  peers_.Limit(limits.peers, limits.seed);
  runs_.reserve(kRuns);
  Result opened = os::EpollCreate1();
  if (opened.ok()) epoll_ = Fd(opened.value);
  return opened;
}

Result Batch::AddServer(Fd fd, uint32_t* id) {
  Socket socket;
  socket.fd = std::move(fd);
  return Add(std::move(socket), id);
}

Result Batch::AddFlow(Fd fd, const Address& peer, uint32_t* id) {
  Socket socket;
  socket.fd = std::move(fd);
  socket.is_flow = true;
  socket.name = Name::Of(peer);
  Result added = Add(std::move(socket), id);
  if (!added.ok()) return added;
  const uint32_t kept = peers_.Keep(*id, Name::Of(peer));
  if (kept == 0) {
    Close(*id);
    return Result::Fail(Syscall::kNone, ENFILE);
  }
  sockets_.Get(*id)->peer = kept;
  return added;
}

Result Batch::Add(Socket socket, uint32_t* id) {
  if ((limits_.offloads & kUdpReceiveOffload) != 0) {
    // Where it is refused, datagrams come one by one.
    static_cast<void>(os::Setsockopt(socket.fd.get(), IPPROTO_UDP, UDP_GRO, 1));
  }
  *id = sockets_.Add(std::move(socket));
  if (*id == 0) return Result::Fail(Syscall::kNone, ENFILE);
  Result watched = Watch(*id, *sockets_.Get(*id), EPOLL_CTL_ADD);
  if (!watched.ok()) sockets_.Remove(*id);
  return watched;
}

uint32_t Batch::Interest(const Socket& socket) const {
  return (is_receiving_ ? EPOLLIN : 0U) | (socket.is_blocked ? EPOLLOUT : 0U);
}

Result Batch::Watch(uint32_t id, const Socket& socket, int operation) {
  epoll_event event = {};
  event.events = Interest(socket);
  event.data.u32 = id;
  return os::EpollCtl(epoll_.get(), operation, socket.fd.get(), &event);
}

Result Batch::OpenPending(int family) {
  Result opened = os::Socket(family, SOCK_DGRAM, IPPROTO_UDP);
  if (opened.ok()) pending_.emplace_back(opened.value);
  return opened;
}

Fd Batch::TakePending(int fd) {
  const auto found =
      std::find_if(pending_.begin(), pending_.end(), [fd](const Fd& pending) { return pending.get() == fd; });
  if (found == pending_.end()) return Fd();
  Fd taken = std::move(*found);
  pending_.erase(found);
  return taken;
}

bool Batch::Close(uint32_t id) {
  const Socket* socket = sockets_.Get(id);
  if (socket == nullptr) return false;
  CountOverflow(*socket);
  if (socket->is_flow) {
    peers_.Remove(socket->peer);
  } else {
    peers_.RemoveOf(id);
  }
  // A child process may have the descriptor for an instant, and then epoll would not forget it by itself.
  static_cast<void>(os::EpollCtl(epoll_.get(), EPOLL_CTL_DEL, socket->fd.get(), nullptr));
  sockets_.Remove(id);
  return true;
}

void Batch::CloseSockets() {
  for (size_t place = 0; place < sockets_.places(); place++) {
    const uint32_t id = sockets_.At(place);
    if (id != 0) Close(id);
  }
  pending_.clear();
}

void Batch::SetReceiving(bool on) {
  if (is_receiving_ == on) return;
  is_receiving_ = on;
  for (size_t place = 0; place < sockets_.places(); place++) {
    const uint32_t id = sockets_.At(place);
    if (id == 0) continue;
    const Result watched = Watch(id, *sockets_.Get(id), EPOLL_CTL_MOD);
    if (!watched.ok()) Tell(id, watched.error);
  }
}

void Batch::Tell(uint32_t socket, int error) {
  // Of very many in one turn the first ones tell enough; all are counted where datagrams are lost by them.
  if (events_.size() < kEvents) events_.push_back(BatchEvent{socket, error});
}

uint32_t Batch::PeerOfSocket(uint32_t socket) {
  const Socket* found = sockets_.Get(socket);
  return found != nullptr && found->is_flow ? found->peer : 0;
}

int Batch::FdOf(uint32_t socket) {
  const Socket* found = sockets_.Get(socket);
  return found == nullptr ? -1 : found->fd.get();
}

namespace {

uint64_t OverflowOf(int fd) {
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t length = sizeof memory;
  const bool told = os::Getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length).ok();
  return told && length >= sizeof memory ? memory[SK_MEMINFO_DROPS] : 0;
}

}  // namespace

void Batch::CountOverflow(const Socket& socket) { stats_.dropped_overflow += OverflowOf(socket.fd.get()); }

BatchStats Batch::Stats() {
  BatchStats stats = stats_;
  stats.evicted_peers = peers_.evicted();
  stats.sockets = sockets_.count();
  stats.peers = peers_.count();
  for (size_t place = 0; place < sockets_.places(); place++) {
    const uint32_t id = sockets_.At(place);
    if (id != 0) stats.dropped_overflow += OverflowOf(sockets_.Get(id)->fd.get());
  }
  return stats;
}

}  // namespace connectx
