// Many UDP sockets of one thread, read and written in runs: equal-sized datagrams of one peer, the last one maybe
// shorter, that cross the kernel's border with one system call (UDP_GRO, UDP_SEGMENT).
#ifndef CONNECTX_UDP_BATCH_H
#define CONNECTX_UDP_BATCH_H

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "address.h"
#include "os.h"
#include "udp/peers.h"
#include "udp/slots.h"

namespace connectx {

struct BatchLimits {
  // How many bytes one recvmsg(2) may bring. The kernel puts no more than 64 KiB together.
  uint32_t slot_bytes = 0;
  uint32_t datagrams_per_turn = 0;
  uint32_t peers = 0;
  uint64_t seed = 0;
  // Bits of UdpOffload.
  int offloads = 0;
};

// One run, in the memory that it was received into.
struct BatchRun {
  uint32_t offset = 0;
  uint32_t length = 0;
  uint32_t segment = 0;
  uint32_t socket = 0;
  uint32_t peer = 0;

  // Whether the datagrams of `next` may follow, of the same peer, when this run has `bytes` bytes.
  bool MayTake(size_t bytes, const BatchRun& next) const;
};

// A run that is sent on holds no more (UDP_MAX_SEGMENTS was 64 before Linux 6.9), and no more bytes than fit into one
// packet of either family.
constexpr size_t kMostSegments = 64;
constexpr size_t kMostBytes = 65000;

// To move so many bytes costs less than the system call that is saved by it.
constexpr size_t kWorthMoving = 16384;

inline size_t AlignUp(size_t offset) { return (offset + 7) & ~size_t{7}; }

// Of no socket: the batch cannot go on.
constexpr uint32_t kWholeBatch = 0;

// error 0: a send would be taken again.
struct BatchEvent {
  uint32_t socket = 0;
  int error = 0;
};

// Counted since the beginning. JavaScript reads them in this order.
struct BatchStats {
  uint64_t received_datagrams = 0;
  uint64_t received_runs = 0;
  uint64_t received_bytes = 0;
  uint64_t sent_datagrams = 0;
  uint64_t sent_runs = 0;
  uint64_t sent_bytes = 0;
  // Not sent: the send buffer was full; the kernel refused; too long for the route; the target was gone.
  uint64_t dropped_blocked = 0;
  uint64_t dropped_failed = 0;
  uint64_t dropped_too_long = 0;
  uint64_t dropped_stale = 0;
  // Received and not delivered: cut off; not from the peer of the flow. And not received: the receive buffer was full.
  uint64_t dropped_truncated = 0;
  uint64_t dropped_strangers = 0;
  uint64_t dropped_overflow = 0;
  uint64_t evicted_peers = 0;
  // Runs that the kernel refused to cut, sent one by one.
  uint64_t refused_runs = 0;
  uint64_t turns = 0;
  // Now.
  uint64_t sockets = 0;
  uint64_t peers = 0;
};
constexpr size_t kBatchStats = sizeof(BatchStats) / sizeof(uint64_t);

// A length of datagrams of one size, the last one maybe shorter; one datagram where they are equal.
struct RunBytes {
  const uint8_t* bytes = nullptr;
  size_t length = 0;
  size_t segment = 0;

  size_t count() const { return length == 0 ? 1 : (length + segment - 1) / segment; }
};

class Batch {
 public:
  // At most so many runs a turn.
  static constexpr size_t kRuns = 1024;
  // So many events at most wait to be told.
  static constexpr size_t kEvents = 256;

  Result Open(const BatchLimits& limits);
  // Readable when there is something for Receive(); -1 before Open().
  int poll_fd() const { return epoll_.get(); }

  // Takes over the bound socket. value says whether it went well, `id` which one it is.
  Result AddServer(Fd fd, uint32_t* id);
  // The same with a socket that is connected to this peer.
  Result AddFlow(Fd fd, const Address& peer, uint32_t* id);
  // A socket on its way to AddFlow(): closed with the batch. value is the descriptor.
  Result OpenPending(int family);
  Fd TakePending(int fd);
  // False: there is none of this id.
  bool Close(uint32_t id);
  void CloseSockets();
  // While it is off, sockets are not read.
  void SetReceiving(bool on);

  // One turn: reads what there is into `memory`, up to the limits.
  void Receive(uint8_t* memory, size_t bytes);
  const std::vector<BatchRun>& runs() const { return runs_; }
  std::vector<BatchEvent>& events() { return events_; }

  // How many datagrams the kernel has taken. What it has not is dropped, and counted.
  size_t Send(uint32_t target, const RunBytes& run);

  const Peer* PeerOf(uint32_t id) { return peers_.Get(id); }
  uint32_t PeerOfSocket(uint32_t socket);
  int FdOf(uint32_t socket);
  BatchStats Stats();

 private:
  static constexpr size_t kSlots = 32;
  static constexpr size_t kFewSlots = 4;
  struct Received;
  struct Socket {
    Fd fd;
    bool is_flow = false;
    // A send was refused: epoll tells when there is room.
    bool is_blocked = false;
    // Of a flow: its peer. Of a server: whom it has heard last.
    uint32_t peer = 0;
    // How many datagrams one message of recvmmsg(2) may have, after what the last ones have had: where runs and single
    // ones come by turns, it stays that of runs.
    size_t expected = kMostSegments;
    // For how many messages there is room the next time: to make room takes time, too.
    size_t slots = kFewSlots;
    Name name;
  };
  static constexpr size_t kReady = 64;

  Result Add(Socket socket, uint32_t* id);
  Result Watch(uint32_t id, const Socket& socket, int operation);
  uint32_t Interest(const Socket& socket) const;
  void Tell(uint32_t socket, int error);
  void CountOverflow(const Socket& socket);

  bool NextReady(epoll_event* event);
  void ReadFrom(uint32_t id);
  void Take(uint32_t id, Socket* socket, const Received& received);
  bool Merge(const BatchRun& run, const uint8_t* from);
  void Gather();
  size_t FindHeads();

  size_t SendSome(Socket* socket, Peer* peer, const RunBytes& run, Result* result);
  size_t SendSegments(Socket* socket, Peer* peer, const RunBytes& run, Result* result);
  size_t SendEach(Socket* socket, Peer* peer, const RunBytes& run, Result* result);
  Result SendOnce(Socket* socket, Peer* peer, const RunBytes& run);
  bool MaySegment(const Peer& peer, const RunBytes& run) const;
  void CountUnsent(uint32_t id, Socket* socket, size_t datagrams, const Result& result);

  BatchLimits limits_;
  Fd epoll_;
  Slots<Socket> sockets_;
  Peers peers_;
  std::vector<Fd> pending_;
  bool is_receiving_ = false;
  BatchStats stats_;
  std::vector<BatchRun> runs_;
  std::vector<BatchEvent> events_;

  // What epoll_wait(2) has told of and was not served yet: first in the next turn, so that none waits for ever.
  std::array<epoll_event, kReady> ready_ = {};
  size_t ready_count_ = 0;
  size_t ready_next_ = 0;

  // Of the turn.
  uint8_t* memory_ = nullptr;
  size_t capacity_ = 0;
  size_t used_ = 0;
  size_t datagrams_ = 0;

  // Of Gather(): for each run the first one of those that it joins, how many bytes these have together, and the runs
  // that come of it.
  std::vector<uint32_t> heads_;
  std::vector<size_t> totals_;
  std::vector<BatchRun> gathered_;
};

}  // namespace connectx

#endif  // CONNECTX_UDP_BATCH_H
