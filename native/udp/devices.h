// Sockets that are bound to a device, out of the whole table of the kernel: where there are very many devices, that
// takes less time than a question for each of them. Without a lock on the port it is a hint.
#ifndef CONNECTX_UDP_DEVICES_H
#define CONNECTX_UDP_DEVICES_H

#include <cstddef>
#include <cstdint>

#include "netlink/namespace_sockets.h"
#include "netlink/sock_diag.h"
#include "os.h"

namespace connectx {

// One of these sockets may be missing.
constexpr int kUnknown = -1;

// value is kEstablished when a socket with a device is connected as the question has it, kClosed when one is bound and
// not connected, 0 when there is none, and kUnknown. Fails where the kernel cannot be asked so. `wildcards`: also
// sockets that are bound to every address.
Result StateOnDevices(NamespaceSockets* sockets, const DiagQuery& query, bool wildcards);

// The same, wildcards too, for each of these local ports: `states` that are not kEstablished get what was found. value
// is 1, or 0 where one may be missing.
Result NoteDevices(NamespaceSockets* sockets, const DiagQuery& query, const uint16_t* ports, size_t count,
                   uint8_t* states);

}  // namespace connectx

#endif  // CONNECTX_UDP_DEVICES_H
