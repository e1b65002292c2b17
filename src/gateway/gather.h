#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "darkroom/engine.h"
#include "darkroom/v1/generation.pb.h"
#include "gateway/call.h"

namespace darkroom {

// Replies that take several calls of the engine, one after the other.

// Adds the bytes of its outputs to `generation`. They count against `budget` until `call` ends:
// RESOURCE_EXHAUSTED (REPLIES_TOO_LARGE) when it has no room, FAILED_PRECONDITION
// (OUTPUTS_TOO_LARGE) when they are more than one reply may hold.
void GatherOutputs(Engine& engine, Budget& budget, std::shared_ptr<Call> call,
                   v1::Generation generation, Callback<absl::StatusOr<v1::Generation>> reply);

// A page of at most query.page_size entries; ends early when its bytes are many.
void GatherPage(Engine& engine, GenerationStore::ListQuery query,
                Callback<absl::StatusOr<v1::ListGenerationsResponse>> reply);

}  // namespace darkroom
