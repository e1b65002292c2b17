#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/pipeline.h"
#include "model/samplers/sampler.h"

// What a worker believes of a request for a slot: nothing, before it is checked, since the daemon
// is another process. Errors name the field, the allowed range and the nearest valid value.
namespace darkroom {

// A value of the request is outside its range: INVALID_ARGUMENT.
absl::Status OutOfRange(std::string_view reason, const std::string& field,
                        const std::string& problem);
// This model cannot do that: UNIMPLEMENTED.
absl::Status Unsupported(std::string_view reason, std::string_view what);
// The daemon asked for something that does not fit the slot's state: FAILED_PRECONDITION, its error
// and not a client's.
absl::Status WrongState(std::string_view reason, std::string_view what);

// Guidance of either kind.
absl::Status CheckScale(const std::string& field, std::string_view reason, double scale);

// Everything of the request but its checkpoint, for this model. `takes_pictures`: the model can
// start from a picture.
absl::Status CheckSlotRequest(const v1::OpenSlot& request, const JobInputs& inputs,
                              const v1::Model& model, const Samplers& samplers,
                              bool takes_pictures);

// The request's checkpoint and its tensors, latents of [channels, height, width] and with
// `keeps_history` as many of the sampler's. REQUIRES: CheckSlotRequest found nothing.
absl::Status CheckSlotCheckpoint(const v1::OpenSlot& request, absl::Span<const Payload> tensors,
                                 absl::Span<const int64_t> latent_shape, const v1::Model& model,
                                 const Sampler& sampler);

}  // namespace darkroom
