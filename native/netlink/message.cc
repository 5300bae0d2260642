#include "netlink/message.h"

#include <sys/socket.h>

#include <algorithm>

namespace connectx {
namespace {

constexpr int kAttempts = 8;

size_t Align(size_t length) { return (length + NLMSG_ALIGNTO - 1) & ~static_cast<size_t>(NLMSG_ALIGNTO - 1); }

}  // namespace

bool NextMessage(const uint8_t* bytes, size_t length, size_t* at, NetlinkMessage* out) {
  nlmsghdr header;
  if (*at > length || length - *at < sizeof header) return false;
  std::memcpy(&header, bytes + *at, sizeof header);
  if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > length - *at) return false;
  out->type = header.nlmsg_type;
  out->flags = header.nlmsg_flags;
  out->sequence = header.nlmsg_seq;
  out->payload = bytes + *at + NLMSG_HDRLEN;
  out->length = header.nlmsg_len - NLMSG_HDRLEN;
  *at += Align(header.nlmsg_len);
  return true;
}

int ErrorOf(const NetlinkMessage& message) {
  int32_t error;
  if (!message.Read(&error)) return -1;
  return error <= 0 && error > -4096 ? -error : -1;
}

Result BadMessage() { return Result::Fail(Syscall::kNetlink, EBADMSG); }

AttributeReader::AttributeReader(const NetlinkMessage& message, size_t struct_size) {
  const size_t start = std::min(Align(struct_size), message.length);
  at_ = message.payload + start;
  left_ = message.length - start;
}

bool AttributeReader::Next() {
  nlattr header;
  // Less than a header at the end is padding.
  if (left_ < sizeof header) return false;
  std::memcpy(&header, at_, sizeof header);
  if (header.nla_len < sizeof header || header.nla_len > left_) {
    failed_ = true;
    left_ = 0;
    return false;
  }
  type_ = header.nla_type;
  data_ = at_ + sizeof header;
  size_ = header.nla_len - sizeof header;
  const size_t whole = std::min(Align(header.nla_len), left_);
  at_ += whole;
  left_ -= whole;
  return true;
}

MessageWriter::MessageWriter(uint16_t type, uint16_t flags, uint32_t sequence) {
  nlmsghdr header = {};
  header.nlmsg_type = type;
  header.nlmsg_flags = flags;
  header.nlmsg_seq = sequence;
  bytes_.reserve(128);
  Add(header);
}

void MessageWriter::AddBytes(const void* data, size_t size) {
  const auto* from = static_cast<const uint8_t*>(data);
  bytes_.insert(bytes_.end(), from, from + size);
  bytes_.resize(Align(bytes_.size()));
}

void MessageWriter::AddAttribute(uint16_t type, const void* data, size_t size) {
  Add(nlattr{static_cast<uint16_t>(sizeof(nlattr) + size), type});
  AddBytes(data, size);
}

std::vector<uint8_t> MessageWriter::Finish() {
  const auto total = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &total, sizeof total);
  return std::move(bytes_);
}

Result OpenNetlink(int protocol, uint32_t groups) {
  Result opened = os::Socket(AF_NETLINK, SOCK_RAW, protocol);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  Result result = groups == 0 ? os::Connect(fd.get(), name, sizeof address) : os::Bind(fd.get(), name, sizeof address);
  if (!result.ok()) return result;
  return Result::Ok(fd.Release());
}

Result NetlinkSocket::Exchange(const void* request, size_t length, uint8_t (&answer)[kAnswerSize]) {
  Result result = SendRequest(request, length);
  return result.ok() ? ReceiveAnswer(answer) : result;
}

Result NetlinkSocket::SendRequest(const void* request, size_t length) {
  if (fd_.get() < 0) {
    Result opened = OpenNetlink(protocol_, 0);
    if (!opened.ok()) return opened;
    fd_ = Fd(opened.value);
  }
  return os::Send(fd_.get(), request, length);
}

Result NetlinkSocket::ReceiveAnswer(uint8_t (&answer)[kAnswerSize]) {
  // The kernel has answered before send(2) returns.
  Result result = os::Recv(fd_.get(), answer, sizeof answer);
  if (result.ok() && static_cast<size_t>(result.value) > sizeof answer) return BadMessage();
  return result;
}

Result Dump(int fd, const std::vector<uint8_t>& request, bool* interrupted,
            const std::function<Result(const uint8_t* bytes, size_t length)>& part) {
  Result result = os::Send(fd, request.data(), request.size());
  if (!result.ok()) return result;
  std::vector<uint8_t> buffer(32768);  // the kernel fills at most this much at once (netlink_dump)
  int overruns = 0;
  do {
    // The kernel has written the next part before recv(2) returns this one, so that this never has to wait.
    result = os::Recv(fd, buffer.data(), buffer.size());
    if (result.error == ENOBUFS && overruns++ < kAttempts) {
      // Something was lost, and the list goes on: to its end, or the next one would be EBUSY.
      *interrupted = true;
      result = Result::Ok(0);
      continue;
    }
    if (!result.ok()) return result;
    // Nothing at all is no part of a list.
    if (result.value == 0 || static_cast<size_t>(result.value) > buffer.size()) return BadMessage();
    result = part(buffer.data(), static_cast<size_t>(result.value));
    if (!result.ok()) return result;
  } while (result.value == 0);
  return Result::Ok();
}

Result UntilWhole(const std::function<Result(bool* interrupted)>& once) {
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    bool interrupted = false;
    Result result = once(&interrupted);
    if (!result.ok() || !interrupted) return result;
  }
  return Result::Fail(Syscall::kNetlink, EINTR);
}

}  // namespace connectx
