#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/payload.h"
#include "darkroom/pipeline.h"
#include "darkroom/v1/worker.pb.h"

namespace darkroom {

// A packed model on its way to other workers of the machine: what is told of it, and its segments,
// which are attached to the same message. Nothing when it has no segments, or more than a message
// can carry: then each worker packs its own.
struct PackedModelMessage {
  v1::PackedWeights weights;
  std::vector<Payload> attachments;
};
PackedModelMessage WritePackedModel(PackedModel model);

// The other way. INVALID_ARGUMENT when a segment is not one of the attachments, of its size.
absl::StatusOr<PackedModel> ReadPackedModel(const v1::PackedWeights& weights,
                                            absl::Span<const Payload> attachments);

}  // namespace darkroom
