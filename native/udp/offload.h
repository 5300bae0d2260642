// Segmentation offload of UDP: what this kernel has of it.
#ifndef CONNECTX_UDP_OFFLOAD_H
#define CONNECTX_UDP_OFFLOAD_H

#include "os.h"

// Kernel headers older than the running kernel lack these numbers; they are ABI and do not change.
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103  // Linux 4.18
#endif
#ifndef UDP_GRO
#define UDP_GRO 104  // Linux 5.0
#endif

namespace connectx {

// JavaScript reads the numbers.
enum UdpOffload : int { kUdpSegment = 1, kUdpReceiveOffload = 2 };

// A bit set of UdpOffload. A scratch socket is asked.
Result UdpOffloads();

}  // namespace connectx

#endif  // CONNECTX_UDP_OFFLOAD_H
