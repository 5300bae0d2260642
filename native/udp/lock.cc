#include "udp/lock.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace connectx {
namespace {

constexpr int kConnectTries = 4;

bool IsConnected(const Result& result) {
  return Says(result, UdpVerdict::kConnected) || Says(result, UdpVerdict::kConnectedAlone) ||
         Says(result, UdpVerdict::kConnectedElsewhere);
}

// bind(2) reads the SO_REUSEADDR of the sockets on its port, and then takes its own place among them, under the lock of
// the port's hash chain; setsockopt(2) and the lookup do not take that lock (udp_lib_get_port). So a bind that had read
// SO_REUSEADDR = 1 of our socket may still be about to take its place when we look. Another bind of the same address
// and port, that must fail, returns only after it has had that lock: by then every bind before it has taken its place,
// where the lookup sees it, and every later one finds the port locked.
//
// value is a UdpVerdict: kConnected when the barrier is passed.
Result Barrier(NamespaceSockets* sockets, const UdpPlan& plan) {
  const int family = plan.source.family();
  // A link-local address leaves its device on a socket, and the options make a difference to what can be bound: among
  // `others` there may be IP_FREEBIND and IP_TRANSPARENT, too.
  const SocketOptions& options = plan.options;
  const bool special = plan.source.scope() != 0 || options.free_bind || options.transparent || !options.others.empty();
  Fd once;
  Fd* scratch = special ? &once : family == AF_INET6 ? &sockets->scratch6 : &sockets->scratch4;
  if (scratch->get() < 0) {
    Result opened = os::Socket(family, SOCK_DGRAM, IPPROTO_UDP);
    if (!opened.ok()) return opened;
    *scratch = Fd(opened.value);
    if (special) {
      Result result = SetOptions(scratch->get(), family, options);
      if (!result.ok()) return result;
    }
  }
  Result result = os::Bind(scratch->get(), plan.source.get(), plan.source.length());
  if (result.error == EADDRINUSE) return Verdict(UdpVerdict::kConnected);
  // Whatever else it says, the port is not locked as it must be.
  scratch->Reset();
  return result.ok() || result.error == EADDRNOTAVAIL ? Verdict(UdpVerdict::kContended) : result;
}

// A bind without SO_REUSEADDR succeeds only where nobody is bound to this address and port, and it keeps everybody out
// from the moment on in which the kernel found that: there is nothing to look up. value is a UdpVerdict.
Result BindAlone(const UdpPlan& plan, int fd, bool* bound) {
  Result result = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 0);
  if (!result.ok()) return result;
  result = os::Bind(fd, plan.source.get(), plan.source.length());
  if (result.error == EADDRINUSE) return Verdict(UdpVerdict::kPortLocked);
  if (!result.ok()) return result;
  *bound = true;
  return Verdict(UdpVerdict::kConnectedAlone);
}

// A socket that is bound and not connected, a server with SO_REUSEADDR say, would lose the datagrams of our peer to us.
// It cannot be seen any more when we are bound: of two sockets that are only bound, the newer one is found. value is a
// UdpVerdict.
Result Joinable(NamespaceSockets* sockets, const UdpPlan& plan) {
  Result owner = UdpOwner(sockets, plan);
  if (!owner.ok()) return owner;
  if (owner.value == kEstablished) return Verdict(UdpVerdict::kTupleInUse);
  return Verdict(owner.value == 0 ? UdpVerdict::kConnected : UdpVerdict::kPortLocked);
}

// Both sockets of a 2-tuple need SO_REUSEADDR, at the time of the second one's bind: so a socket without it locks the
// 2-tuple, and one that wants to get in must have it. value is a UdpVerdict.
Result BindShared(NamespaceSockets* sockets, const UdpPlan& plan, int fd, bool* bound, UdpSelf* self) {
  const Result joinable = plan.automatic ? Joinable(sockets, plan) : Verdict(UdpVerdict::kConnected);
  if (!Says(joinable, UdpVerdict::kConnected)) return joinable;
  Result result = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (!result.ok()) return result;
  result = os::Bind(fd, plan.source.get(), plan.source.length());
  if (result.error == EADDRINUSE) return Verdict(UdpVerdict::kPortLocked);
  if (!result.ok()) return result;
  *bound = true;
  result = os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 0);
  if (result.ok()) result = SelfOf(fd, self);
  if (!result.ok()) return result;
  result = Barrier(sockets, plan);
  if (!Says(result, UdpVerdict::kConnected)) return result;
  return UdpInspect(sockets, plan, *self);
}

// connect(2) may lead to another peer than the one that was inspected: a BPF program on the cgroup may rewrite the
// address, and hide it from getpeername(2). Where it leads to a 4-tuple that is taken, the next connect(2) may lead
// elsewhere: balancing load is what such programs do. value is a UdpVerdict.
Result ConnectAndVerify(NamespaceSockets* sockets, const UdpPlan& plan, int fd, const UdpSelf& self, Address* peer) {
  for (int tries = 1;; tries++) {
    Result result = os::Connect(fd, plan.remote.get(), plan.remote.length());
    if (result.ok()) result = UdpVerify(sockets, plan, self, peer);
    if (!Says(result, UdpVerdict::kTupleInUse) || tries == kConnectTries) return result;
  }
}

// Lets others on the port.
Result Unlock(int fd) { return os::Setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1); }

// From bind(2) to the unlock. When it fails or the verdict does not say connected, the socket may be bound and locked.
Result Dance(NamespaceSockets* sockets, const UdpPlan& plan, int fd, bool* bound, Address* peer) {
  UdpSelf self;
  Result result = Verdict(UdpVerdict::kPortLocked);
  if (plan.alone || !plan.shared) result = BindAlone(plan, fd, bound);
  if (plan.shared && Says(result, UdpVerdict::kPortLocked)) result = BindShared(sockets, plan, fd, bound, &self);
  if (!IsConnected(result)) return result;
  const bool alone = Says(result, UdpVerdict::kConnectedAlone);
  if (alone && !plan.shared) {
    // Nobody else is on this port, or ever will be, and nobody says to which peer.
    const Result connected = os::Connect(fd, plan.remote.get(), plan.remote.length());
    return connected.ok() ? result : connected;
  }
  if (alone) {
    const Result known = SelfOf(fd, &self);
    if (!known.ok()) return known;
  }
  const Result verified = ConnectAndVerify(sockets, plan, fd, self, peer);
  if (!IsConnected(verified)) return verified;
  if (!plan.exclusive) {
    const Result unlocked = Unlock(fd);
    if (!unlocked.ok()) return unlocked;
  }
  return alone && Says(verified, UdpVerdict::kConnected) ? result : verified;
}

bool IsSame(const Address& a, const Address& b) { return a.port() == b.port() && a.SameIp(b); }

// Datagrams from anyone were queued between bind and connect. The peer's own stay; the rest goes. Fails when that
// cannot be done: who gets the socket would read what strangers wrote.
Result DropStrangers(int fd, const Address& remote, const Address& peer) {
  // An error that was waiting on the socket, such as one that an ICMP message brought, is told once.
  int errors = 3;
  for (;;) {
    sockaddr_storage from = {};
    socklen_t length = sizeof from;
    uint8_t byte;
    auto* name = reinterpret_cast<sockaddr*>(&from);
    Result peeked = os::RecvFrom(fd, &byte, sizeof byte, MSG_PEEK, name, &length);
    if (peeked.error == EAGAIN) return Result::Ok();
    if (!peeked.ok()) {
      if (--errors == 0) return peeked;
      continue;
    }
    Address sender;
    const bool known = Address::From(from, length, &sender);
    if (known && (IsSame(sender, remote) || IsSame(sender, peer))) return Result::Ok();
    Result dropped = os::RecvFrom(fd, &byte, sizeof byte, 0, nullptr, nullptr);
    if (!dropped.ok() && dropped.error != EAGAIN && --errors == 0) return dropped;
  }
}

// A bound UDP socket cannot give its port back: another socket takes the place of its descriptor.
Result Renew(int target, int family) {
  Result opened = os::Socket(family, SOCK_DGRAM, IPPROTO_UDP);
  Result renewed = opened;
  if (opened.ok()) {
    Fd fresh(opened.value);
    renewed = os::Dup3(fresh.get(), target);
  }
  // At least nobody is kept out until the caller closes it.
  if (!renewed.ok()) static_cast<void>(Unlock(target));
  return renewed;
}

// Our own socket was not seen. It may have been found while it was not quite there (a socket that is just being closed
// is answered with ENOENT as well), and on kernels without SO_NETNS_COOKIE, and without /proc, the question may have
// gone to another namespace. A new question, over a new socket, tells.
Result Review(NamespaceSockets* sockets, const UdpPlan& plan, int fd) {
  const bool known = sockets->namespace_cookie != 0;
  sockets->Close();
  UdpSelf self;
  Result again = SelfOf(fd, &self);
  if (again.ok()) again = UdpInspect(sockets, plan, self);
  if (!again.ok() || Says(again, UdpVerdict::kUnseen)) return Verdict(UdpVerdict::kUnseen);
  return Verdict(known ? UdpVerdict::kContended : UdpVerdict::kMoved);
}

}  // namespace

Result UdpConnect(NamespaceSockets* sockets, const UdpPlan& plan, int target, Address* peer) {
  if (sockets->MovedTo(target)) return Verdict(UdpVerdict::kMoved);
  Result result = SetOptions(target, plan.source.family(), plan.options);
  if (!result.ok()) return result;
  bool bound = false;
  *peer = RemoteOf(plan);
  result = Dance(sockets, plan, target, &bound, peer);
  if (IsConnected(result)) {
    Result dropped = DropStrangers(target, plan.remote, *peer);
    if (dropped.ok()) return result;
    result = dropped;
  }
  if (Says(result, UdpVerdict::kUnseen)) result = Review(sockets, plan, target);
  if (bound) {
    Result renewed = Renew(target, plan.source.family());
    if (!renewed.ok()) return renewed;
  }
  return result;
}

Result UdpSettle(NamespaceSockets* sockets, int target, bool unlock) {
  if (sockets->MovedTo(target)) return Verdict(UdpVerdict::kMoved);
  uint8_t byte;
  const Result peeked = os::RecvFrom(target, &byte, sizeof byte, MSG_PEEK, nullptr, nullptr);
  Result result = Result::Ok();
  if (peeked.error != EAGAIN) {
    Address peer;
    result = PeerAddress(target, &peer);
    if (result.ok()) result = DropStrangers(target, peer, peer);
  }
  if (result.ok() && unlock) result = Unlock(target);
  return result.ok() ? Verdict(UdpVerdict::kConnectedAlone) : result;
}

Result UdpMoved(NamespaceSockets* sockets) {
  // A socket of any family tells the namespace; this one is always there.
  Result opened = os::Socket(AF_UNIX, SOCK_DGRAM, 0);
  if (!opened.ok()) return opened;
  const Fd fd(opened.value);
  return Result::Ok(sockets->MovedTo(fd.get()) ? 1 : 0);
}

Result UdpConnectFirst(NamespaceSockets* sockets, const UdpPlan& plan, const SourcePorts& ports, int target,
                       Address* peer, size_t* place) {
  UdpPlan one = plan;
  Result result = Verdict(UdpVerdict::kPortLocked);
  *place = 0;
  for (size_t n = 0; n < ports.count; n++) {
    *place = n;
    one.source.set_port(ports.ports[n]);
    result = UdpConnect(sockets, one, target, peer);
    if (!Says(result, UdpVerdict::kPortLocked)) return result;
  }
  return result;
}

}  // namespace connectx
