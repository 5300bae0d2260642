// The answer of rtnetlink(7) to the question for a route. The first byte says of which family.
#include "fuzz.h"
#include "netlink/route.h"

using namespace connectx;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  if (length == 0) return 0;
  const int family = bytes[0] % 2 == 0 ? AF_INET : AF_INET6;
  RouteAnswer answer;
  const Result result = DecodeRouteAnswer(bytes + 1, length - 1, kSequence, family, &answer);
  MUST(result.ok() || (result.syscall == Syscall::kNetlink && result.error > 0 && result.error < 4096));
  if (!answer.source.has_value()) return 0;
  MUST(answer.source->family() == family && answer.source->port() == 0 && answer.source->scope() == 0);
  Address again;
  MUST(Address::Parse(family, answer.source->Text().c_str(), 0, &again).ok());
  MUST(again.SameIp(*answer.source));
  // The question about it is one that can be asked.
  RouteQuery query;
  query.destination = again;
  query.interface = answer.interface;
  query.protocol = bytes[0];
  query.local_port = query.remote_port = static_cast<uint16_t>(length);
  MUST(EncodeRouteQuery(query, kSequence).size() % 4 == 0);
  return 0;
}
