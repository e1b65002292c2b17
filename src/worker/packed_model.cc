#include "worker/packed_model.h"

#include <algorithm>
#include <utility>

#include "ipc/limits.h"
#include "ipc/tensor_ref.h"

namespace darkroom {

PackedModelMessage WritePackedModel(PackedModel model) {
  PackedModelMessage message;
  const std::vector<Payload>& segments = model.weights.segments;
  if (segments.empty() || segments.size() > kFrameAttachmentsMax) return message;
  // Inline, a segment would lose its alignment and be no one's but the reader's.
  const auto is_memfd = [](const Payload& segment) { return segment.fd() >= 0; };
  if (!std::all_of(segments.begin(), segments.end(), is_memfd)) return message;
  message.weights.set_key(std::move(model.key));
  message.weights.set_layout(std::move(model.weights.layout));
  for (PackedModel::File& file : model.files) {
    v1::PackedWeights::File& out = *message.weights.add_files();
    out.set_name(std::move(file.file));
    out.set_identity(std::move(file.identity));
    out.set_sha256(std::move(file.sha256));
  }
  for (const Payload& segment : segments) {
    v1::TensorRef& ref = *message.weights.add_segments();
    ref.set_dtype(v1::DTYPE_U8);
    ref.add_shape(static_cast<int64_t>(segment.size()));
    ref.set_size_bytes(static_cast<int64_t>(segment.size()));
    ref.set_memfd_index(static_cast<int32_t>(message.attachments.size()));
    message.attachments.push_back(segment);
  }
  return message;
}

absl::StatusOr<PackedModel> ReadPackedModel(const v1::PackedWeights& weights,
                                            absl::Span<const Payload> attachments) {
  PackedModel model;
  model.key = weights.key();
  model.weights.layout = weights.layout();
  for (const v1::PackedWeights::File& file : weights.files()) {
    model.files.push_back({file.name(), file.identity(), file.sha256()});
  }
  for (const v1::TensorRef& ref : weights.segments()) {
    absl::StatusOr<Payload> segment = ReadTensor(ref, attachments);
    if (!segment.ok()) return segment.status();
    if (segment->fd() < 0) {
      return absl::InvalidArgumentError("a segment of packed weights must be a memfd");
    }
    model.weights.segments.push_back(*std::move(segment));
  }
  return model;
}

}  // namespace darkroom
