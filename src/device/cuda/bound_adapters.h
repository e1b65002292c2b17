#pragma once

#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "device/cuda/cuda_memory.h"
#include "device/cuda/cuda_stream.h"
#include "kernels/common/adapters.h"

namespace darkroom::cuda {

// The adapters that are bound to one weight, and the table of them in device memory, by their
// number, that kernels read.
class BoundAdapters {
 public:
  // What adapters are packed for.
  struct Weight {
    int64_t in;
    absl::Span<const int64_t> columns;  // of each part
    DType compute;
  };
  // In the place of one that was bound before; without parts there is none afterwards. Waits for
  // `stream`. When it fails, all is as before. REQUIRES: the arguments passed CheckBindAdapter.
  absl::Status Bind(int32_t adapter, absl::Span<const AdapterPart> parts, const Weight& weight,
                    CudaStream& stream);

  // For the kernels, without ranges and scratch memory. rank_max 0: none is bound.
  const kernels::Adapters& packed() const { return packed_; }

 private:
  struct Bound {
    DeviceMemory down, up, blocks;
    int32_t rank = 0;
  };
  static absl::StatusOr<Bound> Pack(absl::Span<const AdapterPart> parts, const Weight& weight,
                                    CudaStream& stream);

  std::map<int32_t, Bound> bound_;
  DeviceMemory table_;  // kernels::LowRank [kAdaptersMax], from the first one on
  kernels::Adapters packed_;
};

}  // namespace darkroom::cuda
