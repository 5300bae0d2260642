#include "udp/tuple.h"

#include <netinet/in.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "netlink/diag_dump.h"
#include "netlink/message.h"
#include "udp/devices.h"

namespace connectx {
namespace {

// The interfaces whose sockets could overshadow ours. A lookup by index sees sockets that are bound to that device and
// those that are bound to none.
Result Interfaces(NamespaceSockets* sockets, uint32_t device, const Address& remote) {
  if (device == 0) return sockets->links.Towards(remote, &sockets->interfaces);
  sockets->interfaces.assign(1, device);
  return Result::Ok();
}

DiagQuery QueryOf(const UdpPlan& plan) {
  DiagQuery query;
  query.protocol = IPPROTO_UDP;
  // An IPv4-mapped destination lives in the IPv4 table, which an AF_INET6 question is not answered from (udp_dump_one).
  query.local = plan.source.Unmapped();
  query.remote = RemoteOf(plan).Unmapped();
  return query;
}

// As many questions in one system call as have room for their answers in any receive buffer.
constexpr size_t kAtOnce = 32;

// Asks a question `count` times: `vary(place, query)` changes the question, `use(place, answer)` gets the answer to it.
template <typename Vary, typename Use>
Result AskVariants(SockDiag* diag, const DiagQuery& query, size_t count, Vary vary, Use use) {
  if (count == 1) {
    DiagQuery one = query;
    vary(0, &one);
    DiagAnswer answer;
    Result result = diag->Ask(one, &answer);
    if (result.ok()) use(0, answer);
    return result;
  }
  std::vector<DiagQuery> queries;
  std::vector<DiagAnswer> answers;
  for (size_t from = 0; from < count; from += kAtOnce) {
    queries.assign(std::min(kAtOnce, count - from), query);
    for (size_t n = 0; n < queries.size(); n++) vary(from + n, &queries[n]);
    Result result = diag->AskAll(queries, &answers);
    if (!result.ok()) return result;
    for (size_t n = 0; n < answers.size(); n++) use(from + n, answers[n]);
  }
  return Result::Ok();
}

template <typename Use>
Result ForEachPort(NamespaceSockets* sockets, const DiagQuery& query, const SourcePorts& ports, Use use) {
  const auto vary = [&](size_t place, DiagQuery* one) { one->local.set_port(ports.ports[place]); };
  return AskVariants(&sockets->diag, query, ports.count, vary, use);
}

template <typename Use>
Result ForEachInterface(NamespaceSockets* sockets, const DiagQuery& query, Use use) {
  const std::vector<uint32_t>& interfaces = sockets->interfaces;
  const uint64_t began = interfaces.size() > 1 ? os::ThreadNanoseconds() : 0;
  const auto vary = [&](size_t place, DiagQuery* one) { one->interface = interfaces[place]; };
  const Result result = AskVariants(&sockets->diag, query, interfaces.size(), vary,
                                    [&](size_t, const DiagAnswer& answer) { use(answer); });
  if (interfaces.size() > 1) sockets->device_costs.QuestionsTook(os::ThreadNanoseconds() - began, interfaces.size());
  return result;
}

// Who is on one local 2-tuple, and connected to where.
class PeersSink : public DumpSink {
 public:
  PeersSink(uint64_t cookie, Ip local) : cookie_(cookie), local_(local) {}
  void Restart() override {
    own_.reset();
    others_.clear();
  }
  void Add(const DumpedSocket& socket) override {
    if (socket.cookie == cookie_) {
      own_ = socket;
    } else if (socket.local == local_) {
      others_.push_back(socket);
    }
  }
  const std::optional<DumpedSocket>& own() const { return own_; }
  // A socket that gets, or loses, datagrams of this peer.
  bool IsTaken(const Ip& remote, uint16_t port) const {
    return Any([&](const DumpedSocket& other) {
      return other.state == kEstablished && other.remote == remote && other.remote_port == port;
    });
  }
  // A socket that may be about to connect.
  bool IsContended() const {
    return Any([](const DumpedSocket& other) { return other.state == kClosed; });
  }

 private:
  template <typename Is>
  bool Any(Is is) const {
    return std::any_of(others_.begin(), others_.end(), [&](const DumpedSocket& other) {
      const bool same_device = other.interface == 0 || own_->interface == 0 || other.interface == own_->interface;
      return same_device && is(other);
    });
  }

  uint64_t cookie_;
  Ip local_;
  std::optional<DumpedSocket> own_;
  std::vector<DumpedSocket> others_;
};

// The whole table is looked through: rare, and the one way when all that is known is the cookie.
Result FindPeers(const UdpPlan& plan, uint32_t states, PeersSink* peers) {
  Result opened = OpenNetlink(NETLINK_SOCK_DIAG, 0);
  if (!opened.ok()) return opened;
  const Fd fd(opened.value);
  DumpQuestion question;
  question.protocol = IPPROTO_UDP;
  question.states = states;
  question.low = question.high = plan.source.port();
  return DumpSockets(fd.get(), question, peers);
}

// UdpInspect() where an sk_lookup program gives to another socket, or to nobody, what is for one that is not connected:
// a look-up finds neither our own nor one that is about to connect.
Result InspectAll(const UdpPlan& plan, const UdpSelf& self) {
  PeersSink peers(self.cookie, IpOf(plan.source));
  Result result = FindPeers(plan, StateBit(kEstablished) | StateBit(kClosed), &peers);
  if (!result.ok()) return result;
  if (!peers.own().has_value()) return Verdict(UdpVerdict::kUnseen);
  const Address remote = RemoteOf(plan);
  if (peers.IsTaken(IpOf(remote), remote.port())) return Verdict(UdpVerdict::kTupleInUse);
  return Verdict(peers.IsContended() ? UdpVerdict::kContended : UdpVerdict::kConnected);
}

// value is 1 when the socket is connected to where the plan says.
Result IsConnectedAsAsked(NamespaceSockets* sockets, const UdpPlan& plan, const UdpSelf& self) {
  DiagQuery query = QueryOf(plan);
  // A link-local peer has bound the socket to its link.
  query.interface = self.device != 0 ? self.device : query.remote.scope();
  DiagAnswer answer;
  Result result = sockets->diag.Ask(query, &answer);
  if (!result.ok()) return result;
  return Result::Ok(answer.cookie == self.cookie && answer.IsConnectedTo(query.remote) ? 1 : 0);
}

}  // namespace

Result Verdict(UdpVerdict verdict) { return Result::Ok(static_cast<int>(verdict)); }

bool Says(const Result& result, UdpVerdict verdict) { return result.ok() && result.value == static_cast<int>(verdict); }

Result UdpInspect(NamespaceSockets* sockets, const UdpPlan& plan, const UdpSelf& self) {
  DiagQuery query = QueryOf(plan);
  // kUnseen: the whole table tells.
  const auto judge = [&](const DiagAnswer& answer) {
    if (answer.found && answer.cookie == self.cookie) return UdpVerdict::kConnected;
    if (answer.IsConnectedTo(query.remote)) return UdpVerdict::kTupleInUse;
    return answer.IsAt(query.local) ? UdpVerdict::kContended : UdpVerdict::kUnseen;
  };
  Result result = Interfaces(sockets, self.device, query.remote);
  if (!result.ok()) return result;
  if (sockets->device_costs.PrefersTable(sockets->interfaces.size())) {
    DiagAnswer answer;
    result = sockets->diag.Ask(query, &answer);
    if (!result.ok()) return result;
    const UdpVerdict verdict = judge(answer);
    if (verdict == UdpVerdict::kUnseen) return InspectAll(plan, self);
    if (verdict != UdpVerdict::kConnected) return Verdict(verdict);
    const Result state = StateOnDevices(sockets, query, false);
    if (state.ok() && state.value == kEstablished) return Verdict(UdpVerdict::kTupleInUse);
    if (state.ok() && state.value == kClosed) return Verdict(UdpVerdict::kContended);
    if (state.ok() && state.value == 0) return Verdict(UdpVerdict::kConnected);
  }
  UdpVerdict verdict = UdpVerdict::kConnected;
  result = ForEachInterface(sockets, query, [&](const DiagAnswer& answer) {
    if (verdict == UdpVerdict::kConnected) verdict = judge(answer);
  });
  if (!result.ok()) return result;
  return verdict == UdpVerdict::kUnseen ? InspectAll(plan, self) : Verdict(verdict);
}

Result SelfOf(int fd, UdpSelf* out) {
  out->device = DeviceOf(fd);
  return CookieOf(fd, &out->cookie);
}

Address RemoteOf(const UdpPlan& plan) { return ReachedFrom(plan.source, plan.remote); }

Result UdpVerify(NamespaceSockets* sockets, const UdpPlan& plan, const UdpSelf& self, Address* peer) {
  *peer = RemoteOf(plan);
  Result result = IsConnectedAsAsked(sockets, plan, self);
  if (!result.ok() || result.value == 1) return result.ok() ? Verdict(UdpVerdict::kConnected) : result;
  PeersSink peers(self.cookie, IpOf(plan.source));
  result = FindPeers(plan, StateBit(kEstablished), &peers);
  if (!result.ok()) return result;
  if (!peers.own().has_value()) return Verdict(UdpVerdict::kUnseen);
  *peer = AddressOf(peers.own()->remote, peers.own()->remote_port, plan.remote.family());
  const bool itself = peer->port() == plan.source.port() && peer->SameIp(plan.source);
  const DumpedSocket& own = *peers.own();
  if (itself || peers.IsTaken(own.remote, own.remote_port)) return Verdict(UdpVerdict::kTupleInUse);
  return Verdict(UdpVerdict::kConnectedElsewhere);
}

Result UdpOwner(NamespaceSockets* sockets, const UdpPlan& plan) {
  const uint16_t port = plan.source.port();
  uint8_t state = 0;
  const Result result = UdpOwners(sockets, plan, SourcePorts{&port, 1}, &state);
  return result.ok() ? Result::Ok(state) : result;
}

Result UdpOwners(NamespaceSockets* sockets, const UdpPlan& plan, const SourcePorts& ports, uint8_t* states) {
  DiagQuery query = QueryOf(plan);
  // A link-local source binds its socket to its link: on another one it is another address.
  uint32_t device = plan.interface != 0 ? plan.interface : plan.source.scope();
  if (device == 0) device = sockets->BornDevice();
  Result result = Interfaces(sockets, device, query.remote);
  if (!result.ok()) return result;
  std::fill_n(states, ports.count, 0);
  const auto note = [&](size_t place, const DiagAnswer& answer) {
    Address local = query.local;
    local.set_port(ports.ports[place]);
    // A socket that an sk_lookup program has named gets what no connected one gets, whoever is on the port.
    if (!answer.IsAt(local) || states[place] == kEstablished) return;
    // Established elsewhere is as good as not connected.
    states[place] = answer.IsConnectedTo(query.remote) ? kEstablished : kClosed;
  };
  // Without a device each port is asked for in any case.
  const size_t spared = (sockets->interfaces.size() - 1) * ports.count;
  if (sockets->device_costs.PrefersTable(spared)) {
    const Result noted = NoteDevices(sockets, query, ports.ports, ports.count, states);
    // Of several ports it is a hint.
    if (noted.ok() && (noted.value == 1 || ports.count > 1)) sockets->interfaces.assign(1, 0);
  }
  for (const uint32_t interface : sockets->interfaces) {
    query.interface = interface;
    result = ForEachPort(sockets, query, ports, note);
    if (!result.ok()) return result;
  }
  return result;
}

}  // namespace connectx
