#include "kernels/emulator/guarded_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace darkroom::emulator {
namespace {

constexpr size_t kPage = 4096;
constexpr uint8_t kUntouched = 0xff;

}  // namespace

GuardedMemory::GuardedMemory(size_t bytes, size_t alignment) {
  const size_t aligned = (bytes + alignment - 1) / alignment * alignment;
  const size_t pages = (aligned + kPage - 1) / kPage * kPage;
  mapped_bytes_ = pages + 2 * kPage;
  void* mapping = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED ||
      mprotect(static_cast<uint8_t*>(mapping) + kPage, pages, PROT_READ | PROT_WRITE) != 0) {
    throw std::bad_alloc();
  }
  mapping_ = static_cast<uint8_t*>(mapping);
  guard_ = mapping_ + kPage + pages;
  data_ = guard_ - aligned;
  end_ = data_ + bytes;
  std::memset(mapping_ + kPage, kUntouched, pages);
}

GuardedMemory::~GuardedMemory() { munmap(mapping_, mapped_bytes_); }

bool GuardedMemory::Intact() const {
  const auto untouched = [](uint8_t byte) { return byte == kUntouched; };
  return std::all_of(end_, guard_, untouched) && std::all_of(mapping_ + kPage, data_, untouched);
}

}  // namespace darkroom::emulator
