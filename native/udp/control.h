// Control messages: what the kernel says of a datagram beside its bytes, and what it is told of one.
#ifndef CONNECTX_UDP_CONTROL_H
#define CONNECTX_UDP_CONTROL_H

#include <cstddef>
#include <cstdint>

namespace connectx {

// The size of the datagrams that UDP_GRO has put together, out of the control messages of recvmsg(2). 0: they say
// nothing of it, or nothing that can be.
uint32_t SegmentSizeIn(const uint8_t* control, size_t length);

// Room for the one message that UDP_SEGMENT takes, CMSG_SPACE(sizeof(uint16_t)); and for what UDP_GRO writes.
constexpr size_t kSegmentControl = 24;
constexpr size_t kReceiveControl = 64;

// Writes the message that has sendmsg(2) cut what it sends into datagrams of this size.
void WriteSegmentSize(uint8_t (&control)[kSegmentControl], uint16_t size);

}  // namespace connectx

#endif  // CONNECTX_UDP_CONTROL_H
