#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/linear_source.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace darkroom {

// A matrix without bias that brings a tower's result into the space which pictures and captions
// share, where only directions matter: results have length 1. Float32.
//
// Thread: one at a time.
class UnitProjection {
 public:
  // First pass: takes `name`.weight [out, in]. Check `weights` before Load.
  UnitProjection(Weights& weights, const std::string& name, int64_t out, int64_t in);
  absl::Status Load(Ops& ops, Stream& stream);

  // [in] to [out], host memory. A zero vector stays zero. REQUIRES: loaded.
  absl::StatusOr<std::vector<float>> Apply(absl::Span<const float> x, Stream& stream);

 private:
  LinearSource source_;
  Ops* ops_ = nullptr;
  std::unique_ptr<LinearWeight> weight_;
  std::unique_ptr<DeviceBuffer> memory_;
  PackedBatch batch_;  // one row
  Tensor x_;
  Tensor out_;
};

// The vector's direction as torch.nn.functional.normalize gives it: divided by its length, or by
// 1e-12 where it is shorter.
void Normalize(absl::Span<float> vector);

}  // namespace darkroom
