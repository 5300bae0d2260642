// The datagrams of one peer that came between those of others are put together: a run is sent on with one system call,
// however many datagrams it has.
#include <cstring>

#include "udp/batch.h"

namespace connectx {

bool BatchRun::MayTake(size_t bytes, const BatchRun& next) const {
  // A datagram without bytes stands alone, and a shorter one closes a run.
  if (bytes == 0 || next.length == 0 || next.length > kWorthMoving) return false;
  if (bytes % segment != 0 || next.segment > segment) return false;
  if (next.segment < segment && next.segment < next.length) return false;
  return bytes + next.length <= kMostBytes && bytes + next.length <= kMostSegments * segment;
}

// How many runs join another one. The order of what a peer has sent stays: a run joins the last one of its peer, or
// none.
size_t Batch::FindHeads() {
  size_t joining = 0;
  heads_.resize(runs_.size());
  totals_.resize(runs_.size());
  for (uint32_t i = 0; i < runs_.size(); i++) {
    const BatchRun& run = runs_[i];
    heads_[i] = i;
    totals_[i] = run.length;
    Peer* peer = peers_.Get(run.peer);
    if (peer == nullptr) continue;
    if (peer->turn == stats_.turns) {
      const uint32_t head = peer->head;
      const bool may_move = runs_[head].length <= kWorthMoving;
      if (may_move && runs_[head].MayTake(totals_[head], run)) {
        heads_[i] = head;
        totals_[head] += run.length;
        joining++;
        continue;
      }
    }
    peer->turn = stats_.turns;
    peer->head = i;
  }
  return joining;
}

void Batch::Gather() {
  if (runs_.size() < 2 || FindHeads() == 0) return;
  gathered_.clear();
  // From here on, of a head: where its run is in gathered_.
  for (uint32_t i = 0; i < runs_.size(); i++) {
    const BatchRun& run = runs_[i];
    if (heads_[i] == i) {
      const size_t total = totals_[i];
      totals_[i] = gathered_.size();
      gathered_.push_back(run);
      if (total == run.length) continue;
      const size_t place = AlignUp(used_);
      // Without room each of them stays where it is.
      if (place + total > capacity_) continue;
      std::memcpy(memory_ + place, memory_ + run.offset, run.length);
      gathered_.back().offset = static_cast<uint32_t>(place);
      used_ = place + total;
      continue;
    }
    BatchRun& head = gathered_[totals_[heads_[i]]];
    if (head.offset == runs_[heads_[i]].offset) {
      gathered_.push_back(run);
      continue;
    }
    std::memcpy(memory_ + head.offset + head.length, memory_ + run.offset, run.length);
    head.length += run.length;
    stats_.received_runs--;
  }
  runs_.swap(gathered_);
}

}  // namespace connectx
