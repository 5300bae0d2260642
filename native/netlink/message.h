// What every netlink question has in common: a socket that talks to the kernel alone, one Execute for a question with
// one answer, one Dump for a list, and headers and attributes that are checked before anything behind them is read.
#ifndef CONNECTX_NETLINK_MESSAGE_H
#define CONNECTX_NETLINK_MESSAGE_H

#include <linux/netlink.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "os.h"

namespace connectx {

// One netlink message inside a buffer of bytes from the kernel.
struct NetlinkMessage {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  const uint8_t* payload = nullptr;
  size_t length = 0;

  // The struct that the payload begins with. False when the message is shorter.
  template <typename Struct>
  bool Read(Struct* out) const {
    if (length < sizeof *out) return false;
    std::memcpy(out, payload, sizeof *out);
    return true;
  }
};

// The message at *at, which then moves behind it. False at the end of the bytes, and where they are no whole message.
bool NextMessage(const uint8_t* bytes, size_t length, size_t* at, NetlinkMessage* out);

// For NLMSG_ERROR and NLMSG_DONE: the errno inside (positive; 0 for none), or -1 when the message is cut off.
int ErrorOf(const NetlinkMessage& message);

Result BadMessage();

// The attributes behind the struct that a message begins with (struct nlattr, struct rtattr: they are the same).
class AttributeReader {
 public:
  AttributeReader(const NetlinkMessage& message, size_t struct_size);
  // False behind the last attribute, and where one is cut off: failed() tells which.
  bool Next();
  bool failed() const { return failed_; }

  uint16_t type() const { return type_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  // False when the attribute has another size.
  template <typename Value>
  bool Read(Value* out) const {
    if (size_ != sizeof *out) return false;
    std::memcpy(out, data_, sizeof *out);
    return true;
  }

 private:
  const uint8_t* at_ = nullptr;
  size_t left_ = 0;
  bool failed_ = false;
  uint16_t type_ = 0;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// A message to the kernel: the header, a struct, and attributes.
class MessageWriter {
 public:
  MessageWriter(uint16_t type, uint16_t flags, uint32_t sequence);
  template <typename Struct>
  void Add(const Struct& value) {
    AddBytes(&value, sizeof value);
  }
  void AddAttribute(uint16_t type, const void* data, size_t size);
  template <typename Value>
  void AddAttribute(uint16_t type, const Value& value) {
    AddAttribute(type, &value, sizeof value);
  }
  // The bytes, with their length in the header.
  std::vector<uint8_t> Finish();

 private:
  void AddBytes(const void* data, size_t size);

  std::vector<uint8_t> bytes_;
};

// A netlink socket connected to the kernel (port id 0), so that nobody else's message can arrive in place of an answer.
Result OpenNetlink(int protocol, uint32_t groups);

// Asks one question at a time, each with one answer. The first one opens the socket, in the network namespace that the
// thread is in then.
class NetlinkSocket {
 public:
  explicit NetlinkSocket(int protocol) : protocol_(protocol) {}

  // `encode(sequence)` makes the bytes of the question, `decode(bytes, length, sequence)` reads the answer.
  template <typename Encode, typename Decode>
  Result Execute(Encode encode, Decode decode) {
    const uint32_t sequence = ++sequence_;
    const auto request = encode(sequence);
    uint8_t answer[kAnswerSize];
    Result result = Exchange(request.data(), request.size(), answer);
    if (result.ok()) result = decode(answer, static_cast<size_t>(result.value), sequence);
    // An errno inside of an answer is an answer. After everything else, no belated answer shall meet the next question.
    const bool answered = result.ok() || (result.syscall == Syscall::kNetlink && result.error != EBADMSG);
    if (!answered) Close();
    return result;
  }

  // So many questions of one size in one send(2), which the kernel answers one by one, in turn: half of what they cost
  // else. `encode(index, sequence)` and `decode(index, bytes, length, sequence)` as above. Any failure is that of all:
  // then they are to be asked one by one.
  template <typename Encode, typename Decode>
  Result ExecuteAll(size_t count, Encode encode, Decode decode) {
    const uint32_t first = sequence_ + 1;
    sequence_ += static_cast<uint32_t>(count);
    std::vector<uint8_t> requests;
    for (size_t index = 0; index < count; index++) {
      const auto request = encode(index, first + static_cast<uint32_t>(index));
      requests.insert(requests.end(), request.begin(), request.end());
    }
    Result result = SendRequest(requests.data(), requests.size());
    for (size_t index = 0; index < count && result.ok(); index++) {
      uint8_t answer[kAnswerSize];
      result = ReceiveAnswer(answer);
      if (result.ok()) {
        const auto length = static_cast<size_t>(result.value);
        result = decode(index, answer, length, first + static_cast<uint32_t>(index));
      }
    }
    // What else may still come must not meet the next question.
    if (!result.ok()) Close();
    return result;
  }

  void Close() { fd_.Reset(); }

 private:
  // A route with its metrics stays far below.
  static constexpr size_t kAnswerSize = 8192;

  Result Exchange(const void* request, size_t length, uint8_t (&answer)[kAnswerSize]);
  Result SendRequest(const void* request, size_t length);
  Result ReceiveAnswer(uint8_t (&answer)[kAnswerSize]);

  int protocol_;
  Fd fd_;
  uint32_t sequence_ = 0;
};

// One buffer of a list that was asked for with NLM_F_DUMP. `each(message)` says whether the message can be a part of
// this list. value is 1 when the list is over; `interrupted` is set (and never cleared) when the kernel says that what
// it lists changed meanwhile (NLM_F_DUMP_INTR), so that something may be missing.
template <typename Each>
Result DecodePart(const uint8_t* bytes, size_t length, uint32_t sequence, bool* interrupted, Each each) {
  size_t at = 0;
  NetlinkMessage message;
  while (NextMessage(bytes, length, &at, &message)) {
    if (message.sequence != sequence) return BadMessage();
    if ((message.flags & NLM_F_DUMP_INTR) != 0) *interrupted = true;
    if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) {
      // The end of a list carries an errno too (netlink_dump_done), 0 for a list that is complete.
      const int error = ErrorOf(message);
      if (error > 0) return Result::Fail(Syscall::kNetlink, error);
      return error == 0 && message.type == NLMSG_DONE ? Result::Ok(1) : BadMessage();
    }
    if (!each(message)) return BadMessage();
  }
  return at < length ? BadMessage() : Result::Ok(0);
}

// Sends the request for a list, and gives each buffer of the answer to `part`, until that answers 1 or fails.
Result Dump(int fd, const std::vector<uint8_t>& request, bool* interrupted,
            const std::function<Result(const uint8_t* bytes, size_t length)>& part);

// Calls `once` until it was not interrupted; after some interruptions in a row the error is EINTR.
Result UntilWhole(const std::function<Result(bool* interrupted)>& once);

}  // namespace connectx

#endif  // CONNECTX_NETLINK_MESSAGE_H
