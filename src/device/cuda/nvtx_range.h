#pragma once

#include <nvtx3/nvToolsExt.h>

namespace darkroom::cuda {

// A named span of the host's time in a profile (Nsight Systems). Costs nothing to speak of when
// nobody profiles.
class NvtxRange {
 public:
  // `name` must outlive the range.
  explicit NvtxRange(const char* name) { nvtxRangePushA(name); }
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;
  ~NvtxRange() { nvtxRangePop(); }
};

}  // namespace darkroom::cuda
