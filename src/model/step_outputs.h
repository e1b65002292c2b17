#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "darkroom/pipeline.h"

namespace darkroom {

// What leaves a pipeline after a step, made from latents in host memory: f32
// [channels, height, width] as bytes. Pure functions; any thread.

// The same for the same bits: what shows that two runs took the same way.
uint64_t HashLatents(std::string_view latents);

bool AreFinite(std::string_view latents);

// INTERNAL/LATENTS_NOT_FINITE, a job's end.
absl::Status NotFinite();

// Bytes as they leave the worker: large ones in a memfd, which crosses without a copy.
absl::StatusOr<Payload> MakePayload(std::string_view bytes);

// Puts `tensors` (latents, then a sampler's history, each of `shape`) into the outcome as a
// checkpoint whose step and numerics_id are the caller's to set. Where no memory is left there is
// none: the step itself is done, so the job goes on, and a later checkpoint will do.
void PutCheckpoint(const LatentView& shape, absl::Span<const std::string> tensors,
                   JobOutcome& outcome);

// The mean of every `k` x `k` latents, [channels, max(1, height / k), max(1, width / k)].
std::vector<float> ShrinkLatents(const LatentView& shape, const float* latents, int k);

}  // namespace darkroom
