#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/weights.h"

namespace darkroom {

// A linear layer's tensors in the files, between the two passes of loading.
struct LinearSource {
  Tensor weight;  // [out, in]
  Tensor bias;    // [out], or none
};

// Takes `name`.weight and, with `bias`, `name`.bias.
LinearSource TakeLinear(Weights& weights, const std::string& name, int64_t out, int64_t in,
                        bool bias = true);

// One packed matrix of several layers that read the same input: their outputs side by side, in
// order. Either all have a bias or none has.
absl::StatusOr<std::unique_ptr<LinearWeight>> PackRows(absl::Span<const LinearSource> rows,
                                                       DType compute, Ops& ops);

// What is to be packed where, so that a family lists its layers once.
struct Packing {
  std::unique_ptr<LinearWeight>* packed;
  std::vector<LinearSource> rows;
};
absl::Status PackAll(absl::Span<const Packing> packings, DType compute, Ops& ops);

}  // namespace darkroom
