// What the fuzz targets share. Each of them is one libFuzzer target: `npm run fuzz`.
#ifndef CONNECTX_TEST_FUZZ_H
#define CONNECTX_TEST_FUZZ_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// As in test/helpers/bytes.ts.
constexpr uint32_t kSequence = 0x01020304;

// An invariant; what breaks it is kept by libFuzzer as a crash.
#define MUST(condition)                                                               \
  do {                                                                                \
    if (!(condition)) {                                                               \
      std::fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                   \
    }                                                                                 \
  } while (false)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length);

#endif  // CONNECTX_TEST_FUZZ_H
