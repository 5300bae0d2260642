#include "udp/devices.h"

#include <netinet/in.h>

#include <algorithm>
#include <vector>

#include "netlink/diag_dump.h"
#include "netlink/message.h"

namespace connectx {
namespace {

// The kernel writes the first part of a list into less than a page (netlink_dump_start), and takes a lock for each
// port.
constexpr size_t kInOneBreath = 16;

// A socket that is bound to a device, of which the local end is asked for.
struct DeviceSocket {
  uint16_t port;
  // kEstablished: connected to the remote end that is asked for. kClosed: to none.
  uint8_t state;
};

struct DeviceQuestion {
  Ip local;
  Ip remote;
  uint16_t remote_port = 0;
  // Local ports.
  uint16_t low = 0;
  uint16_t high = 0;
  // Also those that are bound to the wildcard address.
  bool wildcards = false;
};

class DeviceSink : public DumpSink {
 public:
  DeviceSink(const DeviceQuestion& question, std::vector<DeviceSocket>* out) : question_(question), out_(out) {}

  void Restart() override {
    out_->clear();
    count_ = 0;
  }

  void Add(const DumpedSocket& socket) override {
    count_++;
    const bool is_local = socket.local == question_.local || (question_.wildcards && IsOnAll(socket));
    if (!is_local || socket.interface == 0) return;
    const bool is_remote = socket.remote == question_.remote && socket.remote_port == question_.remote_port;
    if (socket.state == kEstablished && !is_remote) return;
    out_->push_back({socket.local_port, socket.state});
  }

  bool IsExact() const { return count_ <= kInOneBreath; }

 private:
  // Of the wildcard of IPv6 unless it takes part in IPv6 only.
  bool IsOnAll(const DumpedSocket& socket) const {
    if (!socket.local.IsWildcard()) return false;
    return socket.local.family == question_.local.family || (question_.local.family == AF_INET && !socket.v6_only);
  }

  DeviceQuestion question_;
  std::vector<DeviceSocket>* out_;
  size_t count_ = 0;
};

// value is 0 where there are so many on these ports that the kernel could not list them in one breath: one of them may
// be missing then, because others came or went meanwhile. Else it is 1.
Result OnDevices(NamespaceSockets* sockets, const DeviceQuestion& question, std::vector<DeviceSocket>* out) {
  if (sockets->table.get() < 0) {
    Result opened = OpenNetlink(NETLINK_SOCK_DIAG, 0);
    if (!opened.ok()) return opened;
    sockets->table = Fd(opened.value);
  }
  DumpQuestion dump;
  dump.protocol = IPPROTO_UDP;
  dump.states = StateBit(kEstablished) | StateBit(kClosed);
  dump.low = question.low;
  dump.high = question.high;
  dump.on_device = true;
  // An address of IPv6 is in the table of IPv6 alone.
  if (question.local.family == AF_INET6 && !question.wildcards) dump.local = question.local;
  if (question.local.family == AF_INET6) dump.only_family = AF_INET6;
  DeviceSink sink(question, out);
  Result result = DumpSockets(sockets->table.get(), dump, &sink);
  // What else may still come must not meet the next one.
  if (!result.ok()) sockets->table.Reset();
  return result.ok() ? Result::Ok(sink.IsExact() ? 1 : 0) : result;
}

// The sockets that are bound to a device, on these ports. Where it fails, the questions are the way.
Result FindOnDevices(NamespaceSockets* sockets, const DiagQuery& query, uint16_t low, uint16_t high, bool wildcards,
                     std::vector<DeviceSocket>* found) {
  const uint64_t began = os::ThreadNanoseconds();
  const DeviceQuestion question{IpOf(query.local), IpOf(query.remote), query.remote.port(), low, high, wildcards};
  const Result result = OnDevices(sockets, question, found);
  // One that fails is not tried again soon.
  sockets->device_costs.TableTook(result.ok() ? os::ThreadNanoseconds() - began : UINT64_MAX / 2);
  return result;
}

}  // namespace

Result StateOnDevices(NamespaceSockets* sockets, const DiagQuery& query, bool wildcards) {
  std::vector<DeviceSocket> found;
  const uint16_t port = query.local.port();
  const Result result = FindOnDevices(sockets, query, port, port, wildcards, &found);
  if (!result.ok()) return result;
  int state = result.value == 1 ? 0 : kUnknown;
  for (const DeviceSocket& socket : found) {
    if (state != kEstablished) state = socket.state;
  }
  return Result::Ok(state);
}

Result NoteDevices(NamespaceSockets* sockets, const DiagQuery& query, const uint16_t* ports, size_t count,
                   uint8_t* states) {
  const auto [low, high] = std::minmax_element(ports, ports + count);
  std::vector<DeviceSocket> found;
  const Result result = FindOnDevices(sockets, query, *low, *high, true, &found);
  if (!result.ok()) return result;
  for (size_t place = 0; place < count; place++) {
    for (const DeviceSocket& socket : found) {
      if (socket.port == ports[place] && states[place] != kEstablished) states[place] = socket.state;
    }
  }
  return result;
}

}  // namespace connectx
