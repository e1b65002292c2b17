#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sha256.h"
#include "darkroom/ops.h"
#include "darkroom/payload.h"
#include "device/cpu/workspace.h"

namespace darkroom::cpu {

// Memory of one packed weight: the owner's heap, or a place in an arena that others map too.
class WeightMemory {
 public:
  WeightMemory() = default;
  // Heap, zeros. RESOURCE_EXHAUSTED.
  static absl::StatusOr<WeightMemory> Heap(size_t bytes);
  // `owner` keeps `data` alive.
  WeightMemory(std::shared_ptr<const void> owner, void* data, bool present)
      : owner_(std::move(owner)), data_(data), present_(present) {}

  void* data() const { return data_; }
  // Whether the weight is there already: then it must not be written.
  bool present() const { return present_; }

 private:
  std::shared_ptr<const void> owner_;
  void* data_ = nullptr;
  bool present_ = false;
};

// The packed weights of one model. Filling, it hands out zeroed memory in memfds, one piece after
// the other, and seals them when all is packed; sharing, the same calls in the same order find what
// was packed before. Where a piece lies follows from the calls alone, so that nothing but the
// bytes has to be told.
//
// Thread: one at a time.
class WeightArena {
 public:
  // `numerics`: everything besides the calls that decides the packed bytes (instruction set,
  // versions of libraries and of the program).
  explicit WeightArena(std::string_view numerics);
  // FAILED_PRECONDITION (SHARED_WEIGHTS_MISMATCH) when they were packed under other numerics.
  static absl::StatusOr<std::unique_ptr<WeightArena>> Share(std::string_view numerics,
                                                            SharedWeights shared);

  // 64-byte aligned. `what` says how the bytes are made of the weight ("linear f32 768x3072"). A
  // piece that is too large for a memfd lies on the heap, here as there. RESOURCE_EXHAUSTED;
  // FAILED_PRECONDITION (SHARED_WEIGHTS_MISMATCH) when the shared weights end before it.
  absl::StatusOr<WeightMemory> Allocate(std::string_view what, size_t bytes);

  // Seals what was filled; its addresses stay, but from now on a write there ends the process.
  // Gives it for other processes. When sharing: FAILED_PRECONDITION (SHARED_WEIGHTS_MISMATCH)
  // unless the calls were those that filled. The arena is spent.
  absl::StatusOr<SharedWeights> Finish();

 private:
  class Segment;
  absl::Status OpenSegment(size_t bytes);
  std::string Layout();

  const std::string numerics_;
  bool sharing_ = false;
  SharedWeights shared_;
  std::vector<std::shared_ptr<Segment>> segments_;
  size_t used_ = 0;      // of the last segment
  size_t capacity_ = 0;  // of the last segment
  size_t segment_count_ = 0;
  Sha256 calls_;
};

}  // namespace darkroom::cpu
