// A part of a dump of sock_diag(7), through everything that is made of it, and the records that go to JavaScript.
#include <arpa/inet.h>

#include <cstring>
#include <string>

#include "fuzz.h"
#include "netlink/socket_table.h"

using namespace connectx;

namespace {

// As src/kernel/socket_table.ts reads them.
constexpr size_t kGroupSize = 140;
constexpr size_t kHolderSize = 96;

struct Sinks : DumpSink {
  PortBits all = PortBits().set();
  HolderSink holders;
  GroupSink groups = GroupSink(all, {});
  PortSink time_wait = PortSink(kTimeWait, {});
  size_t added = 0;
  void Restart() override {}
  void Add(const DumpedSocket& socket) override {
    MUST(socket.local.family == AF_INET || socket.local.family == AF_INET6);
    MUST(socket.remote.family == AF_INET || socket.remote.family == AF_INET6);
    holders.Add(socket);
    groups.Add(socket);
    time_wait.Add(socket);
    added++;
  }
};

uint32_t U32(const uint8_t* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// A length and 63 bytes: an address that inet_pton(3) takes back, with or without a zone.
void CheckText(const uint8_t* at, int family) {
  MUST(at[0] > 0 && at[0] <= 63);
  const std::string text(reinterpret_cast<const char*>(at) + 1, at[0]);
  const std::string ip = text.substr(0, text.find('%'));
  uint8_t address[16];
  MUST(inet_pton(family == 4 ? AF_INET : AF_INET6, ip.c_str(), address) == 1);
  for (size_t i = at[0]; i < 63; i++) MUST(at[1 + i] == 0);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  Sinks sinks;
  bool interrupted = false;
  const Result result = DecodeDump(bytes, length, kSequence, &sinks, &interrupted);
  MUST(result.ok() || (result.syscall == Syscall::kNetlink && result.error > 0 && result.error < 4096));
  MUST(!result.ok() || result.value == 0 || result.value == 1);
  // No socket is told of that has not its bytes.
  MUST(sinks.added * 88 <= length);

  const Records holders = sinks.holders.Take();
  MUST(holders.size() == sinks.added * kHolderSize);
  for (size_t at = 0; at < holders.size(); at += kHolderSize) {
    const uint8_t family = holders[at + 10];
    MUST(family == 4 || family == 6);
    MUST(holders[at + 12] <= 1);
    MUST(holders[at + 13] == family);
    CheckText(holders.data() + at + 32, family);
  }

  const Records groups = sinks.groups.Take();
  MUST(groups.size() % kGroupSize == 0 && groups.size() / kGroupSize <= sinks.added);
  uint32_t before = UINT32_MAX;
  uint64_t total = 0;
  for (size_t at = 0; at < groups.size(); at += kGroupSize) {
    const uint32_t used = U32(groups.data() + at);
    const uint32_t waiting = U32(groups.data() + at + 4);
    MUST(used > 0 && used <= before && waiting <= used);
    before = used;
    total += used;
    const uint8_t family = groups[at + 10];
    MUST(family == 4 || family == 6);
    CheckText(groups.data() + at + 12, family);
  }
  MUST(total <= sinks.added);

  const Records ports = sinks.time_wait.Take();
  // A bit for each port.
  MUST(ports.size() == 8192);
  size_t waiting = 0;
  for (size_t at = 0; at < ports.size(); at += 4) waiting += __builtin_popcount(U32(ports.data() + at));
  MUST(waiting <= sinks.added);
  return 0;
}
