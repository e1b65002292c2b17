#include "model/step_outputs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "model/limits.h"

namespace darkroom {

// Fowler, Noll and Vo's 64-bit hash, variant 1a.
uint64_t HashLatents(std::string_view latents) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : latents) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  return hash;
}

bool AreFinite(std::string_view latents) {
  for (size_t i = 0; i + sizeof(float) <= latents.size(); i += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, latents.data() + i, sizeof(value));
    if (!std::isfinite(value)) return false;
  }
  return true;
}

absl::Status NotFinite() {
  return Error(absl::StatusCode::kInternal, "LATENTS_NOT_FINITE",
               "the model gave values that are not numbers");
}

// Bytes as they leave the worker: large ones in a memfd, which crosses without a copy.
absl::StatusOr<Payload> MakePayload(std::string_view bytes) {
  if (bytes.size() <= model_limits::kInlineOutputBytesMax) return Payload::Copy(bytes);
  return Payload::CreateMemfd(bytes.size(), [bytes](absl::Span<char> memory) {
    std::copy(bytes.begin(), bytes.end(), memory.begin());
  });
}

void PutCheckpoint(const LatentView& shape, absl::Span<const std::string> tensors,
                   JobOutcome& outcome) {
  v1::Checkpoint& checkpoint = outcome.checkpoint.emplace();
  for (size_t i = 0; i < tensors.size(); ++i) {
    absl::StatusOr<Payload> payload = MakePayload(tensors[i]);
    if (!payload.ok()) {
      outcome.checkpoint.reset();
      outcome.checkpoint_tensors.clear();
      return;
    }
    v1::TensorRef& ref = i == 0 ? *checkpoint.mutable_latents() : *checkpoint.add_sampler_state();
    ref.set_dtype(v1::DTYPE_F32);
    for (const int extent : {shape.channels, shape.height, shape.width}) ref.add_shape(extent);
    ref.set_size_bytes(static_cast<int64_t>(tensors[i].size()));
    outcome.checkpoint_tensors.push_back(*std::move(payload));
  }
}

// The mean of every `k` x `k` latents, [channels, height / k, width / k].
std::vector<float> ShrinkLatents(const LatentView& shape, const float* latents, int k) {
  const int height = std::max(1, shape.height / k);
  const int width = std::max(1, shape.width / k);
  std::vector<float> out(static_cast<size_t>(shape.channels) * height * width);
  float* to = out.data();
  for (int c = 0; c < shape.channels; ++c) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        float sum = 0;
        int count = 0;
        for (int i = y * k; i < std::min((y + 1) * k, shape.height); ++i) {
          for (int j = x * k; j < std::min((x + 1) * k, shape.width); ++j, ++count) {
            sum += latents[(int64_t{c} * shape.height + i) * shape.width + j];
          }
        }
        *to++ = sum / static_cast<float>(count);
      }
    }
  }
  return out;
}

}  // namespace darkroom
