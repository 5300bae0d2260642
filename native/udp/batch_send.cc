// Sending a run: nothing is queued. What the kernel does not take now is dropped, and counted by its reason.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "udp/batch.h"
#include "udp/control.h"
#include "udp/offload.h"

namespace connectx {
namespace {

// A route that refuses segments of a size is asked again after so many ms: routes change.
constexpr uint64_t kRefusedMs = 10000;

// EMSGSIZE (EINVAL before Linux 6.15): a segment does not fit the MTU. EIO: the path has no offload (IPsec).
bool IsRefusal(const Result& result) {
  return result.error == EMSGSIZE || result.error == EINVAL || result.error == EIO;
}

// Errors that wait on a connected socket, for a datagram that was sent before.
bool MayBeEarlier(const Result& result) {
  return result.error == ECONNREFUSED || result.error == EHOSTUNREACH || result.error == ENETUNREACH ||
         result.error == EPROTO || result.error == EACCES || result.error == ENOPROTOOPT;
}

// The datagrams of a run from `first` on, `count` of them at most.
RunBytes Part(const RunBytes& run, size_t first, size_t count) {
  const size_t begin = std::min(first * run.segment, run.length);
  return RunBytes{run.bytes + begin, std::min(count * run.segment, run.length - begin), run.segment};
}

}  // namespace

size_t Batch::Send(uint32_t target, const RunBytes& run) {
  Peer* peer = peers_.Get(target);
  Socket* socket = peer == nullptr ? nullptr : sockets_.Get(peer->socket);
  const size_t count = run.count();
  if (socket == nullptr) {
    stats_.dropped_stale += count;
    return 0;
  }
  peer->is_used = true;
  Result result = Result::Ok();
  size_t taken = 0;
  if (count == 1) {
    taken = SendSome(socket, peer, run, &result);
  } else {
    const size_t most = std::max<size_t>(std::min(kMostSegments, kMostBytes / run.segment), 1);
    while (taken < count) {
      const RunBytes part = Part(run, taken, most);
      const size_t sent = SendSome(socket, peer, part, &result);
      taken += sent;
      // The rest would fare no better.
      if (sent < part.count()) break;
    }
  }
  stats_.sent_datagrams += taken;
  if (taken < count) CountUnsent(peer->socket, socket, count - taken, result);
  return taken;
}

// A part of a run that one system call may take.
size_t Batch::SendSome(Socket* socket, Peer* peer, const RunBytes& run, Result* result) {
  return MaySegment(*peer, run) ? SendSegments(socket, peer, run, result) : SendEach(socket, peer, run, result);
}

bool Batch::MaySegment(const Peer& peer, const RunBytes& run) const {
  if (run.count() == 1 || (limits_.offloads & kUdpSegment) == 0) return false;
  return peer.refused_until == 0 || run.segment < peer.refused_size ||
         os::MonotonicMilliseconds() >= peer.refused_until;
}

size_t Batch::SendSegments(Socket* socket, Peer* peer, const RunBytes& run, Result* result) {
  *result = SendOnce(socket, peer, run);
  if (result->ok()) {
    if (peer->refused_until != 0 && run.segment >= peer->refused_size) peer->refused_until = 0;
    return run.count();
  }
  if (IsRefusal(*result)) {
    stats_.refused_runs++;
    const size_t taken = SendEach(socket, peer, run, result);
    if (taken > 0) {
      const bool known = peer->refused_until != 0;
      peer->refused_size =
          static_cast<uint32_t>(known ? std::min<size_t>(peer->refused_size, run.segment) : run.segment);
      peer->refused_until = os::MonotonicMilliseconds() + kRefusedMs;
    }
    return taken;
  }
  if (result->error != EAGAIN) return 0;
  // EAGAIN refuses the whole of it, although a part may have room: half of what may still fit is tried each time.
  size_t taken = 0;
  for (size_t fitting = run.count() - 1; fitting > 0; fitting /= 2) {
    const size_t step = fitting - fitting / 2;
    const Result part = SendOnce(socket, peer, Part(run, taken, step));
    if (part.ok()) {
      taken += step;
    } else if (part.error != EAGAIN) {
      *result = part;
      break;
    }
  }
  return taken;
}

size_t Batch::SendEach(Socket* socket, Peer* peer, const RunBytes& run, Result* result) {
  const size_t count = run.count();
  size_t taken = 0;
  for (size_t i = 0; i < count; i++) {
    *result = SendOnce(socket, peer, Part(run, i, 1));
    if (!result->ok()) break;
    taken++;
  }
  return taken;
}

Result Batch::SendOnce(Socket* socket, Peer* peer, const RunBytes& run) {
  msghdr header = {};
  iovec vector = {const_cast<uint8_t*>(run.bytes), run.length};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (!socket->is_flow) {
    header.msg_name = &peer->name.base;
    header.msg_namelen = peer->name.length();
  }
  alignas(cmsghdr) uint8_t control[kSegmentControl];
  if (run.length > run.segment) {
    WriteSegmentSize(control, static_cast<uint16_t>(run.segment));
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(uint16_t));
  }
  Result result = os::SendMsg(socket->fd.get(), &header);
  if (socket->is_flow && MayBeEarlier(result)) {
    Tell(peer->socket, result.error);
    result = os::SendMsg(socket->fd.get(), &header);
  }
  if (result.ok()) {
    stats_.sent_runs++;
    stats_.sent_bytes += run.length;
  }
  return result;
}

void Batch::CountUnsent(uint32_t id, Socket* socket, size_t datagrams, const Result& result) {
  if (result.error == EAGAIN) {
    stats_.dropped_blocked += datagrams;
    if (socket->is_blocked) return;
    socket->is_blocked = true;
    const Result watched = Watch(id, *socket, EPOLL_CTL_MOD);
    if (watched.ok()) return;
    socket->is_blocked = false;
    Tell(id, watched.error);
    return;
  }
  if (result.error == EMSGSIZE) {
    stats_.dropped_too_long += datagrams;
    return;
  }
  stats_.dropped_failed += datagrams;
  // ENOBUFS and ENOMEM pass, and the count tells of them. The rest is of the route or the rules.
  if (result.error != ENOBUFS && result.error != ENOMEM) Tell(id, result.error);
}

}  // namespace connectx
