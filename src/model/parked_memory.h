#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom {

// Memory for the activations of jobs that wait inside a step, by slot, bounded in all. A slot keeps
// its memory from one step to the next, since who was cut once will be again, until another needs
// the room.
//
// Thread: one at a time.
class ParkedMemory {
 public:
  // `ops` must outlive this object.
  ParkedMemory(Ops& ops, int slots, size_t bytes_max);

  // At least `bytes` for the slot's job, which is inside a step from now on; what is there already
  // stays as it is. RESOURCE_EXHAUSTED: PARKED_FULL beyond the bound, OUT_OF_MEMORY.
  absl::StatusOr<float*> Hold(uint32_t slot, size_t bytes);
  // The job's step is done.
  void StepDone(uint32_t slot) { slots_[slot].inside_step = false; }
  void Free(uint32_t slot);

  // Null when the slot has none.
  DeviceBuffer* buffer(uint32_t slot) const { return slots_[slot].buffer.get(); }
  size_t bytes() const { return bytes_; }
  size_t bytes_max() const { return bytes_max_; }

 private:
  struct Slot {
    std::unique_ptr<DeviceBuffer> buffer;
    bool inside_step = false;
  };
  // Of slots that are between two steps, until so much more fits.
  void MakeRoom(size_t bytes);

  Ops& ops_;
  const size_t bytes_max_;
  std::vector<Slot> slots_;
  size_t bytes_ = 0;
};

}  // namespace darkroom
