// The hot operations of the addon, without Node: for callgrind to count the instructions of
// (bench/cases/instructions.mjs).
//
//   instructions OPERATION FAMILY COUNT
//
// Does it COUNT times in Measured(), which is all that is counted; what it needs beside that is done outside of it.
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "address.h"
#include "netlink/diag_dump.h"
#include "netlink/namespace_sockets.h"
#include "netlink/sock_diag.h"
#include "netlink/socket_table.h"
#include "os.h"
#include "tcp/prepare.h"
#include "udp/lock.h"

// Callgrind is told this name.
extern "C" [[gnu::noinline]] void Measured(const std::function<void()>& act) {
  act();
  // Not a tail call: the return is from here.
  asm volatile("" ::: "memory");
}

namespace connectx {
namespace {

constexpr uint16_t kServer = 4000;
constexpr uint16_t kFirstPort = 20000;
constexpr int kWarmUp = 10;

void Must(const Result& result) {
  if (result.ok()) return;
  std::fprintf(stderr, "%s: %s\n", kSyscallNames[static_cast<size_t>(result.syscall)], std::strerror(result.error));
  std::exit(1);
}

void Expect(const Result& result, UdpVerdict verdict) {
  Must(result);
  if (result.value == static_cast<int>(verdict)) return;
  std::fprintf(stderr, "verdict %d instead of %d\n", result.value, static_cast<int>(verdict));
  std::exit(1);
}

Fd Open(int family, int type) {
  Result opened = os::Socket(family, type, 0);
  Must(opened);
  return Fd(opened.value);
}

struct Setting {
  int family;
  std::string source_text;
  std::string remote_text;
  Address source;
  Address remote;

  explicit Setting(int of) : family(of) {
    source_text = family == AF_INET ? "127.0.0.2" : "2001:db8::2";
    remote_text = family == AF_INET ? "127.0.0.1" : "2001:db8::1";
    Must(Address::Parse(family, source_text.c_str(), 0, &source));
    Must(Address::Parse(family, remote_text.c_str(), kServer, &remote));
  }
};

// `before` each, and `after` it, nothing is counted.
struct Steps {
  std::function<void()> before = [] {};
  std::function<void()> act;
  std::function<void()> after = [] {};
};

void Run(const Steps& steps, int count) {
  for (int i = 0; i < kWarmUp + count; i++) {
    steps.before();
    if (i < kWarmUp) {
      steps.act();
    } else {
      Measured(steps.act);
    }
    steps.after();
  }
}

void Prepare(const Setting& setting, int count, uint16_t low, uint16_t high) {
  TcpPlan plan;
  plan.family = setting.family;
  plan.source = setting.source;
  plan.low = low;
  plan.high = high;
  Result result;
  Steps steps;
  steps.act = [&] { result = TcpPrepare(plan); };
  steps.after = [&] {
    Must(result);
    Fd(result.value).Reset();
  };
  Run(steps, count);
}

void Check(const Setting& setting, int count) {
  Fd listener = Open(setting.family, SOCK_STREAM);
  Must(os::Bind(listener.get(), setting.remote.get(), setting.remote.length()));
  if (listen(listener.get(), 8) != 0) Must(Result::Fail(Syscall::kConnect, errno));
  TcpPlan plan;
  plan.family = setting.family;
  plan.source = setting.source;
  Result prepared = TcpPrepare(plan);
  Must(prepared);
  Fd fd(prepared.value);
  Result connected = os::Connect(fd.get(), setting.remote.get(), setting.remote.length());
  if (connected.error != EINPROGRESS) Must(connected);
  const std::optional<Address> source = setting.source;
  Result result;
  Steps steps;
  NamespaceSockets sockets;
  uint16_t port = 0;
  steps.act = [&] { result = TcpCheck(&sockets, fd.get(), source, 1, 65535, setting.remote, false, &port); };
  steps.after = [&] { Must(result); };
  Run(steps, count);
}

UdpPlan UdpPlanOf(const Setting& setting, bool alone) {
  UdpPlan plan;
  plan.source = setting.source;
  plan.source.set_port(kFirstPort);
  plan.remote = setting.remote;
  plan.alone = alone;
  return plan;
}

void Connect(const Setting& setting, int count, bool alone) {
  NamespaceSockets sockets;
  Address peer;
  UdpPlan plan = UdpPlanOf(setting, alone);
  Fd target;
  Result result;
  Steps steps;
  steps.before = [&] { target = Open(setting.family, SOCK_DGRAM); };
  steps.act = [&] { result = UdpConnect(&sockets, plan, target.get(), &peer); };
  steps.after = [&] {
    Expect(result, alone ? UdpVerdict::kConnectedAlone : UdpVerdict::kConnected);
    target.Reset();
  };
  Run(steps, count);
}

// Another socket has the 4-tuple.
void Refused(const Setting& setting, int count) {
  NamespaceSockets sockets;
  Address peer;
  UdpPlan plan = UdpPlanOf(setting, false);
  Fd holder = Open(setting.family, SOCK_DGRAM);
  Expect(UdpConnect(&sockets, plan, holder.get(), &peer), UdpVerdict::kConnected);
  Fd target;
  Result result;
  Steps steps;
  steps.before = [&] { target = Open(setting.family, SOCK_DGRAM); };
  steps.act = [&] { result = UdpConnect(&sockets, plan, target.get(), &peer); };
  steps.after = [&] {
    Expect(result, UdpVerdict::kTupleInUse);
    target.Reset();
  };
  Run(steps, count);
}

void Owner(const Setting& setting, int count) {
  NamespaceSockets sockets;
  Address peer;
  UdpPlan plan = UdpPlanOf(setting, false);
  Fd holder = Open(setting.family, SOCK_DGRAM);
  Expect(UdpConnect(&sockets, plan, holder.get(), &peer), UdpVerdict::kConnected);
  Result result;
  Steps steps;
  steps.act = [&] { result = UdpOwner(&sockets, plan); };
  steps.after = [&] { Must(result); };
  Run(steps, count);
}

void Lookup(const Setting& setting, int count) {
  DiagQuery query;
  query.protocol = IPPROTO_UDP;
  query.local = setting.source;
  query.local.set_port(kFirstPort);
  query.remote = setting.remote;
  SockDiag diag;
  DiagAnswer answer;
  Result result;
  Steps steps;
  steps.act = [&] { result = diag.Ask(query, &answer); };
  steps.after = [&] { Must(result); };
  Run(steps, count);
}

void Parse(const Setting& setting, int count) {
  Address address;
  Result result;
  Steps steps;
  steps.act = [&] { result = Address::Parse(setting.family, setting.source_text.c_str(), kServer, &address); };
  steps.after = [&] { Must(result); };
  Run(steps, count);
}

// As the kernel writes it: sockets of one source, towards ten destinations.
std::vector<uint8_t> DumpOf(const Setting& setting, int sockets, uint32_t sequence) {
  constexpr size_t kRecord = NLMSG_SPACE(sizeof(inet_diag_msg));
  std::vector<uint8_t> bytes(kRecord * static_cast<size_t>(sockets));
  for (int i = 0; i < sockets; i++) {
    uint8_t* at = &bytes[kRecord * static_cast<size_t>(i)];
    nlmsghdr header = {};
    header.nlmsg_len = NLMSG_LENGTH(sizeof(inet_diag_msg));
    header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    header.nlmsg_flags = NLM_F_MULTI;
    header.nlmsg_seq = sequence;
    inet_diag_msg message = {};
    message.idiag_family = static_cast<uint8_t>(setting.family);
    message.idiag_state = kEstablished;
    message.id.idiag_sport = htons(static_cast<uint16_t>(kFirstPort + i));
    message.id.idiag_dport = htons(static_cast<uint16_t>(kServer + i % 10));
    std::memcpy(message.id.idiag_src, setting.source.ip(), setting.source.ip_length());
    std::memcpy(message.id.idiag_dst, setting.remote.ip(), setting.remote.ip_length());
    std::memcpy(at, &header, sizeof header);
    std::memcpy(at + NLMSG_HDRLEN, &message, sizeof message);
  }
  return bytes;
}

void Decode(const Setting& setting, int count) {
  constexpr uint32_t kSequence = 7;
  const std::vector<uint8_t> bytes = DumpOf(setting, 10000, kSequence);
  PortBits ports;
  ports.set();
  bool interrupted = false;
  Result result;
  Steps steps;
  steps.act = [&] {
    GroupSink sink(ports, {});
    result = DecodeDump(bytes.data(), bytes.size(), kSequence, &sink, &interrupted);
    if (sink.Take().empty()) std::exit(1);
  };
  steps.after = [&] { Must(result); };
  Run(steps, count);
}

const std::map<std::string, std::function<void(const Setting&, int)>> kOperations = {
    {"TcpPrepare", [](const Setting& setting, int count) { Prepare(setting, count, 0, 0); }},
    {"TcpPrepare, with a range", [](const Setting& setting, int count) { Prepare(setting, count, 1, 65535); }},
    {"TcpCheck", Check},
    {"UdpConnect, nobody on the port", [](const Setting& setting, int count) { Connect(setting, count, true); }},
    {"UdpConnect, a shared port", [](const Setting& setting, int count) { Connect(setting, count, false); }},
    {"UdpConnect, refused", Refused},
    {"UdpOwner", Owner},
    {"SockDiag::Ask", Lookup},
    {"Address::Parse", Parse},
    {"DecodeDump, 10,000 sockets", Decode},
};

}  // namespace
}  // namespace connectx

int main(int argc, char** argv) {
  if (argc == 1) {
    for (const auto& [name, run] : connectx::kOperations) std::puts(name.c_str());
    return 0;
  }
  if (argc != 4) return 2;
  const auto found = connectx::kOperations.find(argv[1]);
  if (found == connectx::kOperations.end()) return 2;
  found->second(connectx::Setting(std::atoi(argv[2]) == 6 ? AF_INET6 : AF_INET), std::atoi(argv[3]));
  return 0;
}
