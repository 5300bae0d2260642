#include "tcp/pin.h"

namespace connectx {
namespace {

constexpr const char* kRangePath = "/proc/sys/net/ipv4/ip_local_port_range";
constexpr size_t kRangeBytes = 32;

// The text of the sysctl, as of now. The file is kept open, because to open it costs more than a socket does: it
// answers for the network namespace in which it was opened, like everything in the oracle.
Result ReadRange(Oracle* oracle, char* bytes) {
  // Nobody would notice that the thread has moved.
  if (oracle->namespace_cookie == 0) return os::ReadFile(kRangePath, bytes, kRangeBytes);
  if (oracle->port_range.get() < 0) {
    Result opened = os::Open(kRangePath);
    if (!opened.ok()) return opened;
    oracle->port_range = Fd(opened.value);
  }
  Result result = os::Pread(oracle->port_range.get(), bytes, kRangeBytes);
  if (result.ok()) return result;
  oracle->port_range.Reset();
  return os::ReadFile(kRangePath, bytes, kRangeBytes);
}

// One number and what is behind it; -1 when there is none.
int TakeNumber(const char** at, const char* end) {
  while (*at < end && (**at == ' ' || **at == '\t')) ++*at;
  int number = -1;
  for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
    number = (number < 0 ? 0 : number) * 10 + (**at - '0');
    if (number > 65535) return -1;
  }
  return number;
}

}  // namespace

bool IsInRange(const char* text, size_t length, uint16_t port) {
  const char* end = text + length;
  const int low = TakeNumber(&text, end);
  const int high = TakeNumber(&text, end);
  // A low end of 0 is possible; the kernel never assigns that port.
  return low >= 0 && low <= port && port <= high;
}

Result TcpPin(Oracle* oracle, TcpPlan plan, uint16_t port) {
  Result opened = TcpOpen(plan);
  if (!opened.ok()) return opened;
  Fd fd(opened.value);
  oracle->Moved(fd.get());
  char bytes[kRangeBytes];
  Result result = ReadRange(oracle, bytes);
  // A bound outside of the sysctl's range would be ignored in silence. Where the range cannot be read, the port is
  // bound explicitly.
  if (!result.ok() || !IsInRange(bytes, static_cast<size_t>(result.value), port)) return Result::Ok(fd.Release() * 2);
  plan.low = port;
  plan.high = port;
  result = TcpBind(fd.get(), plan);
  if (!result.ok()) return result;
  return Result::Ok(fd.Release() * 2 + 1);
}

}  // namespace connectx
