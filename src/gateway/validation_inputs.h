#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/picture_decoder.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/model.pb.h"
#include "gateway/field_errors.h"

namespace darkroom {

// The parts of a request that are about pictures and how they guide: what validation.h calls for
// them. Each checks `request` and writes the resolved fields into `resolved`.

// What the request's inputs make of it, where it names no task.
v1::Task TaskOf(const v1::GenerateRequest& request);

// Roles, sources, polarity; that the inputs are those of the task. `resolved` gets each input with
// its digest in place of its bytes.
void ResolveInputs(const v1::GenerateRequest& request, v1::Task task, v1::GenerateRequest& resolved,
                   FieldErrors& errors);

// strength, sampler, true_cfg_scale, max_sequence_length, noise_dtype. REQUIRES: steps and
// guidance_scale are resolved.
void ResolveGuides(const v1::Model& model, v1::GenerateRequest& resolved, FieldErrors& errors);

// After ResolveGuides: whether anything listens to the negative prompt.
void CheckNegativePrompt(const v1::Model& model, const v1::GenerateRequest& resolved,
                         FieldErrors& errors);

void ResolvePreview(v1::GenerateRequest& resolved, FieldErrors& errors);

// The last step, once the inputs are decoded: `pictures` in the order of resolved.inputs. Fills in
// a size that is 0; INVALID_ARGUMENT where a picture's size is not the output's or not one that the
// model makes, with the nearest that is.
absl::Status ResolvePictures(const v1::Model& model, absl::Span<const Picture> pictures,
                             v1::GenerateRequest& resolved);

}  // namespace darkroom
