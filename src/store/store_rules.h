#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/store.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom {

// What every GenerationStore decides alike, wherever its rows are.

bool IsEnded(v1::Generation::State state);

// INVALID_ARGUMENT for a name, request id or hash that is none (RESOURCE_NAME_INVALID,
// REQUEST_ID_INVALID) and for a generation over its bound (GENERATION_TOO_LARGE). `bytes`: its
// CanonicalBytes.
absl::Status CheckCreate(const GenerationStore::NewGeneration& create, const std::string& bytes);

// INVALID_ARGUMENT (EVENTS_INVALID) unless the sequence numbers ascend from above `last_sequence`
// and number and sizes are within bounds.
absl::Status CheckUpdate(const std::string& bytes, int64_t last_sequence,
                         absl::Span<const v1::GenerateEvent> events);

// The page size that is used for the one that was asked for.
int ClampPageSize(int page_size);

absl::Status GenerationNotFound(std::string_view name);
absl::Status GenerationExists(std::string_view name);
absl::Status RequestIdReused(std::string_view request_id);
absl::Status RequestUnknown(std::string_view request_id);
absl::Status RequestOfDeletedGeneration(std::string_view request_id);

}  // namespace darkroom
