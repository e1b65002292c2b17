#include "model/linear_source.h"

#include <utility>

namespace darkroom {

LinearSource TakeLinear(Weights& weights, const std::string& name, int64_t out, int64_t in,
                        bool bias) {
  LinearSource source;
  source.weight = weights.Take(name + ".weight", {out, in});
  if (bias) source.bias = weights.Take(name + ".bias", {out});
  return source;
}

absl::StatusOr<std::unique_ptr<LinearWeight>> PackRows(absl::Span<const LinearSource> rows,
                                                       DType compute, Ops& ops) {
  std::vector<LinearPart> parts;
  for (const LinearSource& source : rows) parts.push_back({source.weight, source.bias});
  return ops.PackLinear(parts, compute);
}

absl::Status PackAll(absl::Span<const Packing> packings, DType compute, Ops& ops) {
  for (const Packing& packing : packings) {
    absl::StatusOr<std::unique_ptr<LinearWeight>> weight = PackRows(packing.rows, compute, ops);
    if (!weight.ok()) return weight.status();
    *packing.packed = *std::move(weight);
  }
  return absl::OkStatus();
}

}  // namespace darkroom
