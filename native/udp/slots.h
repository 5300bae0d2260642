// A table whose entries have numbers that stay those of one entry: what was removed is not found under its number by
// whoever still has it, and the number is not given again for a long time.
#ifndef CONNECTX_UDP_SLOTS_H
#define CONNECTX_UDP_SLOTS_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace connectx {

template <typename T>
class Slots {
 public:
  // 0 is nobody's id. 2^20 entries at a time; a place is taken again after at least kRested others, and has 4,095
  // generations: an id comes again after 4 million.
  static constexpr uint32_t kIndexBits = 20;
  static constexpr uint32_t kMost = 1U << kIndexBits;

  // 0: there is no room. Pointers of Get() are void afterwards.
  uint32_t Add(T value) {
    uint32_t index;
    if (free_.size() > kRested || (slots_.size() == kMost && !free_.empty())) {
      index = free_.front();
      free_.pop_front();
    } else if (slots_.size() < kMost) {
      index = static_cast<uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      return 0;
    }
    Slot& slot = slots_[index];
    slot.value = std::move(value);
    slot.used = true;
    count_++;
    return IdOf(index);
  }

  // Null: there is none of this id any more.
  T* Get(uint32_t id) {
    const uint32_t index = id & (kMost - 1);
    return index < slots_.size() && slots_[index].used && IdOf(index) == id ? &slots_[index].value : nullptr;
  }

  void Remove(uint32_t id) {
    if (Get(id) == nullptr) return;
    const uint32_t index = id & (kMost - 1);
    Slot& slot = slots_[index];
    slot.value = T();
    slot.used = false;
    slot.generation = slot.generation == kGenerations ? 1 : slot.generation + 1;
    free_.push_back(index);
    count_--;
  }

  size_t count() const { return count_; }
  // Places, from 0 on, taken or not.
  size_t places() const { return slots_.size(); }
  // The id of the entry in this place; 0: there is none.
  uint32_t At(size_t place) const { return slots_[place].used ? IdOf(static_cast<uint32_t>(place)) : 0; }

 private:
  static constexpr uint32_t kGenerations = (1U << (32 - kIndexBits)) - 1;
  static constexpr size_t kRested = 1024;

  struct Slot {
    uint32_t generation = 1;
    bool used = false;
    T value = T();
  };

  uint32_t IdOf(uint32_t index) const { return slots_[index].generation << kIndexBits | index; }

  std::vector<Slot> slots_;
  std::deque<uint32_t> free_;
  size_t count_ = 0;
};

}  // namespace connectx

#endif  // CONNECTX_UDP_SLOTS_H
