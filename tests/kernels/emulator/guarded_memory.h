#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom::emulator {

// Memory that ends at a page which may not be touched, filled with NaN: an access far behind it or
// before its first page is a segmentation fault, and a write into the few bytes up to the guard
// page that alignment costs is found by Intact().
class GuardedMemory {
 public:
  // REQUIRES: `alignment` is a power of two of at most 4096.
  GuardedMemory(size_t bytes, size_t alignment);
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  ~GuardedMemory();

  uint8_t* data() { return data_; }
  bool Intact() const;

 private:
  uint8_t* mapping_;
  size_t mapped_bytes_;
  uint8_t* data_;
  uint8_t* end_;    // of what was asked for
  uint8_t* guard_;  // where the guard page begins
};

}  // namespace darkroom::emulator
