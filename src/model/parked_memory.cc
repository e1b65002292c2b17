#include "model/parked_memory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {

ParkedMemory::ParkedMemory(Ops& ops, int slots, size_t bytes_max)
    : ops_(ops), bytes_max_(bytes_max), slots_(static_cast<size_t>(slots)) {}

absl::StatusOr<float*> ParkedMemory::Hold(uint32_t slot_index, size_t bytes) {
  Slot& slot = slots_[slot_index];
  if (slot.buffer == nullptr || slot.buffer->size() < bytes) {
    Free(slot_index);
    MakeRoom(bytes);
    if (bytes > bytes_max_ - bytes_) {
      return Error(absl::StatusCode::kResourceExhausted, "PARKED_FULL",
                   absl::StrCat("activations of ", bytes, " bytes cannot wait inside a step: ",
                                bytes_, " of ", bytes_max_, " are taken"));
    }
    absl::StatusOr<std::unique_ptr<DeviceBuffer>> buffer = ops_.Allocate(bytes);
    if (!buffer.ok()) {
      return Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                   "the worker has no memory left for activations that wait inside a step");
    }
    slot.buffer = *std::move(buffer);
    bytes_ += slot.buffer->size();
  }
  slot.inside_step = true;
  return static_cast<float*>(slot.buffer->data());
}

void ParkedMemory::Free(uint32_t slot_index) {
  Slot& slot = slots_[slot_index];
  if (slot.buffer != nullptr) bytes_ -= slot.buffer->size();
  slot = Slot();
}

void ParkedMemory::MakeRoom(size_t bytes) {
  for (uint32_t i = 0; i < slots_.size() && bytes > bytes_max_ - bytes_; ++i) {
    if (!slots_[i].inside_step) Free(i);
  }
}

}  // namespace darkroom
