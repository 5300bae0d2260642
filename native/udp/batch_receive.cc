// A turn: what is ready is read into the memory, run after run, one after the other without gaps that matter.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "udp/batch.h"
#include "udp/control.h"

namespace connectx {
namespace {

// How often a turn may ask epoll.
constexpr int kWaits = 16;

// What one socket may have to tell in a turn: that there is room, that epoll refuses, that reading fails.
constexpr size_t kEventsOfOne = 3;

}  // namespace

// One datagram, or several that the kernel has put together.
struct Batch::Received {
  const uint8_t* from;
  size_t length;
  size_t segment;
  size_t count;
  const Name* name;
};

void Batch::Receive(uint8_t* memory, size_t bytes) {
  memory_ = memory;
  capacity_ = bytes;
  used_ = 0;
  datagrams_ = 0;
  runs_.clear();
  stats_.turns++;
  int waits = 0;
  // Whoever waits for room must hear of it: the next turn goes on where this one has no place left for events.
  while (datagrams_ < limits_.datagrams_per_turn && runs_.size() + kSlots <= kRuns &&
         used_ + limits_.slot_bytes <= capacity_ && events_.size() + kEventsOfOne <= kEvents) {
    if (ready_next_ == ready_count_) {
      if (waits == kWaits) break;
      waits++;
      const Result waited = os::EpollWait(epoll_.get(), ready_.data(), static_cast<int>(kReady));
      ready_next_ = 0;
      ready_count_ = waited.ok() ? static_cast<size_t>(waited.value) : 0;
      if (!waited.ok()) Tell(kWholeBatch, waited.error);
      if (ready_count_ == 0) break;
    }
    const epoll_event event = ready_[ready_next_++];
    const uint32_t id = event.data.u32;
    Socket* socket = sockets_.Get(id);
    // It was closed meanwhile.
    if (socket == nullptr) continue;
    if ((event.events & EPOLLOUT) != 0) {
      if (socket->is_blocked) Tell(id, 0);
      socket->is_blocked = false;
      // Where epoll refuses, it tells of the room again, and is asked again.
      const Result watched = Watch(id, *socket, EPOLL_CTL_MOD);
      if (!watched.ok()) Tell(id, watched.error);
    }
    if (!is_receiving_) {
      // Nobody reads, and epoll tells of an error all the same, until it is taken.
      int error = 0;
      socklen_t length = sizeof error;
      const bool told = os::Getsockopt(socket->fd.get(), SOL_SOCKET, SO_ERROR, &error, &length).ok();
      if (told && error != 0) Tell(id, error);
    } else if ((event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
      ReadFrom(id);
    }
  }
  Gather();
  memory_ = nullptr;
}

void Batch::ReadFrom(uint32_t id) {
  Socket* socket = sockets_.Get(id);
  const size_t left = limits_.datagrams_per_turn - datagrams_;
  const size_t begin = AlignUp(used_);
  size_t slots = begin < capacity_ ? (capacity_ - begin) / limits_.slot_bytes : 0;
  // Each of them may hold as many datagrams as the last ones did, and there may be twice as many.
  slots = std::min({slots, socket->slots, std::max<size_t>(left / socket->expected, 1)});
  if (slots == 0) {
    // Only the alignment was missing; the next turn starts at the beginning.
    used_ = capacity_;
    return;
  }
  mmsghdr messages[kSlots];
  iovec vectors[kSlots];
  Name names[kSlots];
  alignas(cmsghdr) uint8_t controls[kSlots][kReceiveControl];
  for (size_t i = 0; i < slots; i++) {
    vectors[i] = {memory_ + begin + i * limits_.slot_bytes, limits_.slot_bytes};
    messages[i] = {};
    msghdr& header = messages[i].msg_hdr;
    header.msg_name = &names[i];
    header.msg_namelen = sizeof names[i];
    header.msg_iov = &vectors[i];
    header.msg_iovlen = 1;
    header.msg_control = controls[i];
    header.msg_controllen = sizeof controls[i];
  }
  const Result result = os::RecvMmsg(socket->fd.get(), messages, static_cast<unsigned>(slots));
  if (!result.ok()) {
    // An error that an ICMP message has brought is the flow's own, and told once.
    if (result.error != EAGAIN) Tell(id, result.error);
    return;
  }
  const auto count = static_cast<size_t>(result.value);
  socket->slots = std::clamp(2 * count, kFewSlots, kSlots);
  socket->expected = std::max<size_t>(socket->expected * 3 / 4, 1);
  for (size_t i = 0; i < count; i++) {
    const msghdr& header = messages[i].msg_hdr;
    Received received;
    received.from = static_cast<const uint8_t*>(vectors[i].iov_base);
    received.length = messages[i].msg_len;
    const size_t segment = SegmentSizeIn(controls[i], std::min(header.msg_controllen, sizeof controls[i]));
    received.segment = segment > 0 && segment < received.length ? segment : received.length;
    received.count = received.length == 0 ? 1 : (received.length + received.segment - 1) / received.segment;
    received.name = &names[i];
    datagrams_ += received.count;
    socket->expected = std::max(socket->expected, received.count);
    // Without its control message a run cannot be told from one datagram.
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || !names[i].IsWhole(header.msg_namelen)) {
      stats_.dropped_truncated += received.count;
      continue;
    }
    Take(id, socket, received);
  }
}

void Batch::Take(uint32_t id, Socket* socket, const Received& received) {
  if (socket->is_flow) {
    // The kernel may queue a datagram behind connect(2) for which it had found this socket before.
    if (!socket->name.IsSameEnd(*received.name)) {
      stats_.dropped_strangers += received.count;
      return;
    }
  } else if (peers_.Get(socket->peer) == nullptr || !socket->name.IsSameEnd(*received.name) ||
             std::memcmp(&socket->name, received.name, received.name->length()) != 0) {
    socket->name = *received.name;
    socket->peer = peers_.Intern(id, *received.name);
  } else {
    peers_.Get(socket->peer)->is_used = true;
  }
  stats_.received_datagrams += received.count;
  stats_.received_bytes += received.length;
  BatchRun run;
  run.length = static_cast<uint32_t>(received.length);
  run.segment = static_cast<uint32_t>(received.segment);
  run.socket = id;
  run.peer = socket->peer;
  if (Merge(run, received.from)) return;
  const uint8_t* place = received.from;
  if (received.length <= kWorthMoving) {
    uint8_t* free = memory_ + AlignUp(used_);
    std::memmove(free, received.from, received.length);
    place = free;
  }
  run.offset = static_cast<uint32_t>(place - memory_);
  used_ = run.offset + run.length;
  runs_.push_back(run);
  stats_.received_runs++;
}

// Single datagrams of one size that came one after the other make a run too.
bool Batch::Merge(const BatchRun& run, const uint8_t* from) {
  if (runs_.empty()) return false;
  BatchRun& last = runs_.back();
  if (last.socket != run.socket || last.peer != run.peer || last.offset + last.length != used_) return false;
  if (!last.MayTake(last.length, run)) return false;
  std::memmove(memory_ + used_, from, run.length);
  last.length += run.length;
  used_ += run.length;
  return true;
}

}  // namespace connectx
