// Can 4-tuples of UDP be checked here at all?
#ifndef CONNECTX_UDP_PROBE_H
#define CONNECTX_UDP_PROBE_H

#include "os.h"

namespace connectx {

// Does sock_diag see a UDP socket of ours, and rtnetlink name the interfaces? value is 1, or 0 when the kernel or a
// sandbox refuses; a failure says that it could not be tried.
Result UdpProbe();

}  // namespace connectx

#endif  // CONNECTX_UDP_PROBE_H
