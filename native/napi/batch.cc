// Batches of UDP sockets: unpack, call, answer.
#include "udp/batch.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "napi/arguments.h"
#include "napi/batch_handle.h"
#include "napi/environment.h"

namespace connectx {
namespace {

BatchHandle* HandleOf(const Napi::CallbackInfo& info) { return EnvironmentOf(info)->batches.Get(Int(info, 0)); }

Napi::Value Closed(const Napi::CallbackInfo& info) { return ToJs(info, Result::Fail(Syscall::kNone, EBADF)); }

// The id of a socket or a peer, or what has failed.
Napi::Value IdToJs(const Napi::CallbackInfo& info, const Result& result, uint32_t id) {
  return result.ok() ? Napi::Number::New(info.Env(), id) : ToJs(info, result);
}

// batchOpen(slotBytes, datagramsPerTurn, peers, seed, seed2, offloads, memory, runs, events, onTurn) -> batch
Napi::Value BatchOpenJs(const Napi::CallbackInfo& info) {
  BatchLimits limits;
  limits.slot_bytes = Uint(info, 0);
  limits.datagrams_per_turn = Uint(info, 1);
  limits.peers = Uint(info, 2);
  limits.seed = uint64_t{Uint(info, 3)} << 32 | Uint(info, 4);
  limits.offloads = Int(info, 5);
  // What is received is moved to places of this alignment, and must not reach into the next slot.
  if (limits.slot_bytes == 0 || limits.slot_bytes % 8 != 0) return ToJs(info, Result::Fail(Syscall::kNone, EINVAL));
  const BatchArrays arrays = {info[6], info[7], info[8], info[9]};
  Result result;
  BatchHandle* handle = BatchHandle::Create(info.Env(), limits, arrays, &result);
  return handle == nullptr ? ToJs(info, result) : ToJs(info, Result::Ok(EnvironmentOf(info)->batches.Add(handle)));
}

// batchClose(batch) -> 0
Napi::Value BatchCloseJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  EnvironmentOf(info)->batches.Forget(Int(info, 0));
  handle->Close();
  return ToJs(info, Result::Ok());
}

// batchReference(batch, on) -> 0: whether it keeps the event loop alive
Napi::Value BatchReferenceJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  handle->SetReferenced(Flag(info[1]));
  return ToJs(info, Result::Ok());
}

Result Bound(const Napi::CallbackInfo& info, Fd* out) {
  Address address;
  Result result = AddressArgument(info, 2, Int(info, 1), Port(info, 3), &address);
  if (!result.ok()) return result;
  result = os::Socket(address.family(), SOCK_DGRAM, IPPROTO_UDP);
  if (!result.ok()) return result;
  Fd fd(result.value);
  const int receive = Int(info, 4);
  const int send = Int(info, 5);
  if (receive > 0) result = os::Setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, receive);
  if (result.ok() && send > 0) result = os::Setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, send);
  if (result.ok() && Flag(info[6])) result = os::Setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  if (result.ok()) result = os::Bind(fd.get(), address.get(), address.length());
  if (result.ok()) *out = std::move(fd);
  return result;
}

// batchBind(batch, family, address, port, recvBufferSize, sendBufferSize, reusePort) -> socket
Napi::Value BatchBindJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  Fd fd;
  uint32_t id = 0;
  Result result = Bound(info, &fd);
  if (result.ok()) result = handle->batch().AddServer(std::move(fd), &id);
  return IdToJs(info, result, id);
}

// batchSocket(batch, family) -> fd: to be adopted or discarded; closed with the batch
Napi::Value BatchSocketJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  return handle == nullptr ? Closed(info) : ToJs(info, handle->batch().OpenPending(Int(info, 1)));
}

// batchDiscard(batch, fd) -> 0
Napi::Value BatchDiscardJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  const Fd discarded = handle->batch().TakePending(Int(info, 1));
  return ToJs(info, Result::Ok());
}

// batchAdopt(batch, fd, family, address, port) -> socket: of batchSocket, connected to this peer
Napi::Value BatchAdoptJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  Address peer;
  uint32_t id = 0;
  Result result = AddressArgument(info, 3, Int(info, 2), Port(info, 4), &peer);
  if (!result.ok()) return ToJs(info, result);
  Fd fd = handle->batch().TakePending(Int(info, 1));
  if (fd.get() < 0) return Closed(info);
  result = handle->batch().AddFlow(std::move(fd), peer, &id);
  return IdToJs(info, result, id);
}

// batchCloseSocket(batch, socket) -> 0
Napi::Value BatchCloseSocketJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr || !handle->batch().Close(Uint(info, 1))) return Closed(info);
  return ToJs(info, Result::Ok());
}

// The datagrams that were taken, twice, and 1 more when there are events to be told.
Napi::Value TakenToJs(const Napi::CallbackInfo& info, BatchHandle* handle, size_t taken) {
  return Napi::Number::New(info.Env(), static_cast<double>(2 * taken + (handle->batch().events().empty() ? 0 : 1)));
}

// batchReceive(batch, on) -> as a send of nothing
Napi::Value BatchReceiveJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  handle->batch().SetReceiving(Flag(info[1]));
  return TakenToJs(info, handle, 0);
}

// batchForward(batch, run, target) -> taken: a run of this turn
Napi::Value BatchForwardJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  const uint32_t index = Uint(info, 1);
  uint8_t* memory = nullptr;
  size_t length = 0;
  if (index >= handle->batch().runs().size() || !handle->Memory(&memory, &length)) {
    return ToJs(info, Result::Fail(Syscall::kNone, EINVAL));
  }
  const BatchRun& run = handle->batch().runs()[index];
  if (run.offset + run.length > length) return ToJs(info, Result::Fail(Syscall::kNone, EINVAL));
  const RunBytes bytes = {memory + run.offset, run.length, run.segment};
  return TakenToJs(info, handle, handle->batch().Send(Uint(info, 2), bytes));
}

// batchSend(batch, target, bytes, offset, length, segmentSize) -> taken; segmentSize 0: one datagram
Napi::Value BatchSendJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  napi_typedarray_type type = napi_int8_array;
  size_t there = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(info.Env(), info[2], &type, &there, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    return ToJs(info, Result::Fail(Syscall::kNone, EINVAL));
  }
  const size_t offset = Uint(info, 3);
  const size_t length = Uint(info, 4);
  const size_t segment = Uint(info, 5);
  if (offset > there || length > there - offset) return ToJs(info, Result::Fail(Syscall::kNone, EINVAL));
  const RunBytes bytes = {static_cast<const uint8_t*>(data) + offset, length,
                          segment == 0 || segment > length ? length : segment};
  return TakenToJs(info, handle, handle->batch().Send(Uint(info, 1), bytes));
}

// batchEvents(batch) -> how many there are in the array of events now
Napi::Value BatchEventsJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  return handle == nullptr ? Closed(info) : ToJs(info, Result::Ok(static_cast<int>(handle->TakeEvents())));
}

// batchPeer(batch, peer) -> { family, address, port, scope? }
Napi::Value BatchPeerJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  const Peer* peer = handle == nullptr ? nullptr : handle->batch().PeerOf(Uint(info, 1));
  return peer == nullptr ? Closed(info) : EndpointToJs(info, peer->name.ToAddress());
}

// batchPeerOf(batch, socket) -> peer: of a flow
Napi::Value BatchPeerOfJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  return Napi::Number::New(info.Env(), handle->batch().PeerOfSocket(Uint(info, 1)));
}

// batchAddress(batch, socket) -> { family, address, port, scope? }: its own end
Napi::Value BatchAddressJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  const int fd = handle == nullptr ? -1 : handle->batch().FdOf(Uint(info, 1));
  if (fd < 0) return Closed(info);
  Address address;
  const Result result = LocalAddress(fd, &address);
  return result.ok() ? EndpointToJs(info, address) : ToJs(info, result);
}

// batchStats(batch, Float64Array) -> 0: BatchStats, in its order
Napi::Value BatchStatsJs(const Napi::CallbackInfo& info) {
  BatchHandle* handle = HandleOf(info);
  if (handle == nullptr) return Closed(info);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(info.Env(), info[1], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || length != kBatchStats) {
    return ToJs(info, Result::Fail(Syscall::kNone, EINVAL));
  }
  const BatchStats stats = handle->batch().Stats();
  uint64_t values[kBatchStats];
  static_assert(sizeof values == sizeof stats);
  std::memcpy(values, &stats, sizeof values);
  for (size_t i = 0; i < kBatchStats; i++) static_cast<double*>(data)[i] = static_cast<double>(values[i]);
  return ToJs(info, Result::Ok());
}

}  // namespace

void AddBatch(Napi::Object* exports, Napi::Object* constants) {
  Add(exports, "batchOpen", BatchOpenJs);
  Add(exports, "batchClose", BatchCloseJs);
  Add(exports, "batchReference", BatchReferenceJs);
  Add(exports, "batchReceive", BatchReceiveJs);
  Add(exports, "batchBind", BatchBindJs);
  Add(exports, "batchSocket", BatchSocketJs);
  Add(exports, "batchDiscard", BatchDiscardJs);
  Add(exports, "batchAdopt", BatchAdoptJs);
  Add(exports, "batchCloseSocket", BatchCloseSocketJs);
  Add(exports, "batchForward", BatchForwardJs);
  Add(exports, "batchSend", BatchSendJs);
  Add(exports, "batchEvents", BatchEventsJs);
  Add(exports, "batchPeer", BatchPeerJs);
  Add(exports, "batchPeerOf", BatchPeerOfJs);
  Add(exports, "batchAddress", BatchAddressJs);
  Add(exports, "batchStats", BatchStatsJs);
  AddConstants(constants, "batch", {{"runs", Batch::kRuns}, {"events", Batch::kEvents}, {"stats", kBatchStats}});
}

}  // namespace connectx
