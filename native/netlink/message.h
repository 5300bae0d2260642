// What every netlink question has in common: an owned socket that talks to the kernel alone, and headers that are
// checked before anything behind them is read.
#ifndef CONNECTX_NETLINK_MESSAGE_H
#define CONNECTX_NETLINK_MESSAGE_H

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>

#include "os.h"

namespace connectx {

// One netlink message inside a buffer of bytes from the kernel.
struct NetlinkMessage {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  const uint8_t* payload = nullptr;
  size_t length = 0;
};

// The message at *at, which then moves behind it. False at the end of the bytes, and where they are no whole message.
bool NextMessage(const uint8_t* bytes, size_t length, size_t* at, NetlinkMessage* out);

// For NLMSG_ERROR: the errno inside (positive; 0 for an acknowledgement), or -1 when the message is cut off.
int ErrorOf(const NetlinkMessage& message);

Result BadMessage();

// A netlink socket connected to the kernel (port id 0), so that nobody else's message can arrive in place of an answer.
Result OpenNetlink(int protocol, uint32_t groups);

}  // namespace connectx

#endif  // CONNECTX_NETLINK_MESSAGE_H
