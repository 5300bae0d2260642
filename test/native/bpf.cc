// For the tests: BPF programs on a cgroup that do to sockets what Cilium's socket load balancing, Kubernetes services
// and `ip vrf exec` do, and one on a network namespace that gives whatever comes for a UDP socket that is not connected
// to a socket of its own (sk_lookup). They are made here, instruction by instruction; those of a cgroup stay until it
// is removed. It takes root.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <node_api.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Program = std::vector<bpf_insn>;
using Ip = std::array<uint32_t, 4>;  // words as they lie in memory; an IPv4 address is the first

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int Bpf(bpf_cmd command, bpf_attr* attr) {
  const long returned = syscall(SYS_bpf, command, attr, sizeof *attr);
  return returned < 0 ? -errno : static_cast<int>(returned);
}

bpf_insn Instruction(int code, int dst, int src, int off, int imm) {
  bpf_insn insn = {};
  insn.code = static_cast<uint8_t>(code);
  insn.dst_reg = static_cast<uint8_t>(dst & 15);
  insn.src_reg = static_cast<uint8_t>(src & 15);
  insn.off = static_cast<int16_t>(off);
  insn.imm = imm;
  return insn;
}

bpf_insn Move(int dst, int src) { return Instruction(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0); }
bpf_insn Set(int dst, uint32_t value) {
  return Instruction(BPF_ALU | BPF_MOV | BPF_K, dst, 0, 0, static_cast<int>(value));
}
bpf_insn Load(int dst, int src, size_t offset) {
  return Instruction(BPF_LDX | BPF_W | BPF_MEM, dst, src, static_cast<int>(offset), 0);
}
bpf_insn Store(int dst, int src, size_t offset) {
  return Instruction(BPF_STX | BPF_W | BPF_MEM, dst, src, static_cast<int>(offset), 0);
}

size_t Words(int family) { return family == AF_INET ? 1 : 4; }

size_t OffsetOf(int family, size_t word) {
  return family == AF_INET ? offsetof(bpf_sock_addr, user_ip4) : offsetof(bpf_sock_addr, user_ip6) + 4 * word;
}

// Jumps to the end, which is put there by Finish(), when the address of the context (r6) is another one than `ip`.
void SkipUnless(Program* program, std::vector<size_t>* jumps, int family, const Ip& ip) {
  for (size_t word = 0; word < Words(family); word++) {
    program->push_back(Load(BPF_REG_2, BPF_REG_6, OffsetOf(family, word)));
    jumps->push_back(program->size());
    program->push_back(Instruction(BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_2, 0, 0, static_cast<int>(ip[word])));
  }
}

void StoreIp(Program* program, int family, const Ip& ip) {
  for (size_t word = 0; word < Words(family); word++) {
    program->push_back(Set(BPF_REG_2, ip[word]));
    program->push_back(Store(BPF_REG_6, BPF_REG_2, OffsetOf(family, word)));
  }
}

// All jumps lead here, where the program allows what is going on.
void Finish(Program* program, const std::vector<size_t>& jumps) {
  for (const size_t at : jumps) (*program)[at].off = static_cast<int16_t>(program->size() - at - 1);
  program->push_back(Set(BPF_REG_0, 1));
  program->push_back(Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

// NOLINTBEGIN(misc-redundant-expression): some of the kernel's codes are 0, and say what is meant.

// connect(2) to the service goes to the two backends in turn, and port 80 of it to their port 20001.
Program Connect(int family, int counter, const Ip& service, const Ip (&backends)[2]) {
  Program program = {Move(BPF_REG_6, BPF_REG_1)};
  std::vector<size_t> jumps;
  SkipUnless(&program, &jumps, family, service);
  constexpr size_t kPort = offsetof(bpf_sock_addr, user_port);
  program.push_back(Load(BPF_REG_2, BPF_REG_6, kPort));
  program.push_back(Instruction(BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_2, 0, 2, htons(80)));
  program.push_back(Set(BPF_REG_2, htons(20001)));
  program.push_back(Store(BPF_REG_6, BPF_REG_2, kPort));
  const Program turn = {
      Instruction(BPF_ST | BPF_W | BPF_MEM, BPF_REG_10, 0, -4, 0),
      Move(BPF_REG_2, BPF_REG_10),
      Instruction(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
      Instruction(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, counter),
      Instruction(0, 0, 0, 0, 0),
      Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
  };
  program.insert(program.end(), turn.begin(), turn.end());
  jumps.push_back(program.size());
  program.push_back(Instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 0));
  program.push_back(Load(BPF_REG_7, BPF_REG_0, 0));
  program.push_back(Move(BPF_REG_8, BPF_REG_7));
  program.push_back(Instruction(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_8, 0, 0, 1));
  program.push_back(Store(BPF_REG_0, BPF_REG_8, 0));
  program.push_back(Instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_7, 0, 0, 1));
  const size_t second = program.size();
  program.push_back(Instruction(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_7, 0, 0, 0));
  StoreIp(&program, family, backends[0]);
  jumps.push_back(program.size());
  program.push_back(Instruction(BPF_JMP | BPF_JA, 0, 0, 0, 0));
  program[second].off = static_cast<int16_t>(program.size() - second - 1);
  StoreIp(&program, family, backends[1]);
  Finish(&program, jumps);
  return program;
}

// NOLINTEND(misc-redundant-expression)

// getpeername(2) and recvmsg(2) call a backend by the name of the service.
Program Rename(int family, const Ip& service, const Ip& backend) {
  Program program = {Move(BPF_REG_6, BPF_REG_1)};
  std::vector<size_t> jumps;
  SkipUnless(&program, &jumps, family, backend);
  StoreIp(&program, family, service);
  Finish(&program, jumps);
  return program;
}

// Every socket is born bound to the device.
Program SocketCreate(uint32_t device) {
  Program program = {Set(BPF_REG_2, device), Store(BPF_REG_1, BPF_REG_2, offsetof(bpf_sock, bound_dev_if))};
  Finish(&program, {});
  return program;
}

int Attach(int cgroup, const Program& program, bpf_prog_type type, bpf_attach_type attach) {
  static constexpr char kLicense[] = "MIT";
  bpf_attr attr = {};
  attr.prog_type = type;
  attr.expected_attach_type = attach;
  attr.insns = reinterpret_cast<uint64_t>(program.data());
  attr.insn_cnt = static_cast<uint32_t>(program.size());
  attr.license = reinterpret_cast<uint64_t>(kLicense);
  const Fd loaded(Bpf(BPF_PROG_LOAD, &attr));
  if (loaded.get() < 0) return loaded.get();
  attr = {};
  attr.target_fd = static_cast<uint32_t>(cgroup);
  attr.attach_bpf_fd = static_cast<uint32_t>(loaded.get());
  attr.attach_type = attach;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  return Bpf(BPF_PROG_ATTACH, &attr);
}

int AttachService(int cgroup, int family, const Ip& service, const Ip (&backends)[2]) {
  const bool v6 = family == AF_INET6;
  bpf_attr attr = {};
  attr.map_type = BPF_MAP_TYPE_ARRAY;
  attr.key_size = 4;
  attr.value_size = 4;
  attr.max_entries = 1;
  const Fd counter(Bpf(BPF_MAP_CREATE, &attr));
  if (counter.get() < 0) return counter.get();
  constexpr auto kType = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  int error = Attach(cgroup, Connect(family, counter.get(), service, backends), kType,
                     v6 ? BPF_CGROUP_INET6_CONNECT : BPF_CGROUP_INET4_CONNECT);
  for (const Ip& backend : backends) {
    if (error < 0) return error;
    const Program rename = Rename(family, service, backend);
    error = Attach(cgroup, rename, kType, v6 ? BPF_CGROUP_INET6_GETPEERNAME : BPF_CGROUP_INET4_GETPEERNAME);
    if (error < 0) return error;
    error = Attach(cgroup, rename, kType, v6 ? BPF_CGROUP_UDP6_RECVMSG : BPF_CGROUP_UDP4_RECVMSG);
  }
  return error;
}

constexpr uint32_t kFamilies[] = {AF_INET, AF_INET6};

// Sockets for SkLookup(), one for each of kFamilies.
int SocketMap() {
  bpf_attr attr = {};
  attr.map_type = BPF_MAP_TYPE_SOCKMAP;
  attr.key_size = 4;
  attr.value_size = 8;
  attr.max_entries = 2;
  return Bpf(BPF_MAP_CREATE, &attr);
}

int PutSocket(int map, uint32_t key, int fd) {
  const auto value = static_cast<uint64_t>(fd);
  bpf_attr attr = {};
  attr.map_fd = static_cast<uint32_t>(map);
  attr.key = reinterpret_cast<uint64_t>(&key);
  attr.value = reinterpret_cast<uint64_t>(&value);
  return Bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

// Every look-up of a UDP socket that finds none that is connected finds the one of the map.
Program SkLookup(int map) {
  Program program = {Move(BPF_REG_6, BPF_REG_1)};
  std::vector<size_t> jumps;
  program.push_back(Load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, protocol)));
  jumps.push_back(program.size());
  program.push_back(Instruction(BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_2, 0, 0, IPPROTO_UDP));
  program.push_back(Load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, family)));
  program.push_back(Set(BPF_REG_3, 0));
  program.push_back(Instruction(BPF_JMP32 | BPF_JEQ | BPF_K, BPF_REG_2, 0, 1, static_cast<int>(kFamilies[0])));
  program.push_back(Set(BPF_REG_3, 1));
  program.push_back(Instruction(BPF_STX | BPF_W | BPF_MEM, BPF_REG_10, BPF_REG_3, -4, 0));
  // NOLINTBEGIN(misc-redundant-expression): as above.
  const Program look = {
      Move(BPF_REG_2, BPF_REG_10),
      Instruction(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
      Instruction(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
      Instruction(0, 0, 0, 0, 0),
      Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
  };
  // NOLINTEND(misc-redundant-expression)
  program.insert(program.end(), look.begin(), look.end());
  jumps.push_back(program.size());
  program.push_back(Instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 0));
  const Program assign = {
      Move(BPF_REG_7, BPF_REG_0),
      Move(BPF_REG_1, BPF_REG_6),
      Move(BPF_REG_2, BPF_REG_7),
      Set(BPF_REG_3, 0),
      Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_assign),
      Move(BPF_REG_1, BPF_REG_7),
      Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_release),
  };
  program.insert(program.end(), assign.begin(), assign.end());
  Finish(&program, jumps);
  return program;
}

int AttachSkLookup(int netns, int map) {
  static constexpr char kLicense[] = "MIT";
  const Program program = SkLookup(map);
  bpf_attr attr = {};
  attr.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
  attr.expected_attach_type = BPF_SK_LOOKUP;
  attr.insns = reinterpret_cast<uint64_t>(program.data());
  attr.insn_cnt = static_cast<uint32_t>(program.size());
  attr.license = reinterpret_cast<uint64_t>(kLicense);
  const Fd loaded(Bpf(BPF_PROG_LOAD, &attr));
  if (loaded.get() < 0 || netns < 0) return loaded.get() < 0 ? loaded.get() : 0;
  attr = {};
  attr.link_create.prog_fd = static_cast<uint32_t>(loaded.get());
  attr.link_create.target_fd = static_cast<uint32_t>(netns);
  attr.link_create.attach_type = BPF_SK_LOOKUP;
  return Bpf(BPF_LINK_CREATE, &attr);
}

std::string Text(napi_env env, napi_value value) {
  char text[512];
  size_t length = 0;
  napi_get_value_string_utf8(env, value, text, sizeof text, &length);
  return {text, length};
}

napi_value Number(napi_env env, int value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

// service(cgroup, family, address, backend, backend) -> 0 or -errno
napi_value Service(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value arguments[5];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  int32_t family = 0;
  napi_get_value_int32(env, arguments[1], &family);
  Ip ips[3] = {};
  for (size_t i = 0; i < 3; i++) {
    if (inet_pton(family, Text(env, arguments[2 + i]).c_str(), ips[i].data()) != 1) return Number(env, -EINVAL);
  }
  const Fd cgroup(open(Text(env, arguments[0]).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (cgroup.get() < 0) return Number(env, -errno);
  const Ip backends[2] = {ips[1], ips[2]};
  return Number(env, AttachService(cgroup.get(), family, ips[0], backends));
}

// device(cgroup, index) -> 0 or -errno
napi_value Device(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  uint32_t device = 0;
  napi_get_value_uint32(env, arguments[1], &device);
  const Fd cgroup(open(Text(env, arguments[0]).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (cgroup.get() < 0) return Number(env, -errno);
  return Number(env,
                Attach(cgroup.get(), SocketCreate(device), BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE));
}

// skLookup(pid, fd, fd) -> a descriptor, or -errno: while it is open, all that comes in the network namespace of the
// process for UDP sockets that are not connected is for these two sockets of the process, the one of IPv4 and the one
// of IPv6. With a pid of 0 nothing is attached; 0 says that it could be.
napi_value SkLookupJs(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  int32_t numbers[3] = {};
  for (size_t i = 0; i < 3; i++) napi_get_value_int32(env, arguments[i], &numbers[i]);
  const Fd map(SocketMap());
  if (map.get() < 0) return Number(env, map.get());
  if (numbers[0] == 0) return Number(env, AttachSkLookup(-1, map.get()));
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, numbers[0], 0)));
  if (process.get() < 0) return Number(env, -errno);
  for (uint32_t key = 0; key < 2; key++) {
    const Fd theirs(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), numbers[1 + key], 0)));
    if (theirs.get() < 0) return Number(env, -errno);
    const int put = PutSocket(map.get(), key, theirs.get());
    if (put < 0) return Number(env, put);
  }
  const Fd netns(open(("/proc/" + std::to_string(numbers[0]) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (netns.get() < 0) return Number(env, -errno);
  return Number(env, AttachSkLookup(netns.get(), map.get()));
}

napi_value Init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "skLookup", NAPI_AUTO_LENGTH, SkLookupJs, nullptr, &function);
  napi_set_named_property(env, exports, "skLookup", function);
  napi_create_function(env, "service", NAPI_AUTO_LENGTH, Service, nullptr, &function);
  napi_set_named_property(env, exports, "service", function);
  napi_create_function(env, "device", NAPI_AUTO_LENGTH, Device, nullptr, &function);
  napi_set_named_property(env, exports, "device", function);
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, Init)
