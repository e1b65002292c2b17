#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/model.pb.h"

namespace darkroom {

// Checks a request against the API's limits and the model's, and fills in every default: parent,
// model, task, width, height, num_images, all of sampling (seed from `random`), preview, the
// overlay and the format; request_id in lower case; inputs by their digests. Only a size that is
// left to an input stays 0, until ResolvePictures (validation_inputs.h) has seen it. The answer
// holds nothing that was not checked.
//
// INVALID_ARGUMENT names every field that is wrong, with its range and nearest valid value.
// UNAVAILABLE (MODEL_LOADING, with a retry time) and FAILED_PRECONDITION (MODEL_FAILED,
// NO_MODEL_SERVED) come only when the rest of the request is right.
//
// `tenant` is the caller's, already compared with request.parent. `random` gives 64 random bits.
// `now`: what a deadline must be after.
absl::StatusOr<v1::GenerateRequest> ResolveGenerateRequest(const v1::GenerateRequest& request,
                                                           const std::string& tenant,
                                                           absl::Span<const v1::Model> models,
                                                           absl::FunctionRef<uint64_t()> random,
                                                           absl::Time now);

// 8-4-4-4-12 hex digits.
bool IsRequestId(std::string_view text);

// SHA-256, hex, of the request as the client sent it, without its request_id and with its
// pictures by their digests: what a repeat of the same request_id must match.
std::string RequestHash(const v1::GenerateRequest& request);

}  // namespace darkroom
