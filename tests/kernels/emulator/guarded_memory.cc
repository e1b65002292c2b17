#include "kernels/emulator/guarded_memory.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <utility>

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

namespace {

using darkroom::emulator::GuardedMemory;

std::map<void*, std::unique_ptr<GuardedMemory>>& Allocations() {
  static auto* allocations = new std::map<void*, std::unique_ptr<GuardedMemory>>;
  return *allocations;
}

}  // namespace

const char* cudaGetErrorString(cudaError_t code) {
  switch (code) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
  }
  return "unknown error";
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  // 16 bytes are what kernels may rely on; CUDA's 256 would hide what lies behind the end.
  auto memory = std::make_unique<GuardedMemory>(std::max<size_t>(bytes, 1), 16);
  *pointer = memory->data();
  Allocations()[*pointer] = std::move(memory);
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  const auto found = Allocations().find(pointer);
  if (found == Allocations().end()) {
    return pointer == nullptr ? cudaSuccess : cudaErrorInvalidValue;
  }
  if (!found->second->Intact()) {
    std::fprintf(stderr, "a kernel wrote behind the end of its memory\n");
    std::abort();
  }
  Allocations().erase(found);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}
