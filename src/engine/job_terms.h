#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "darkroom/picture_decoder.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/model.pb.h"
#include "darkroom/v1/worker.pb.h"
#include "scheduler/types.h"

namespace darkroom::engine {

// What a resolved request means for its jobs. Pure.

v1::Stage StageToProto(scheduler::Stage stage);
v1::IsolationLevel IsolationToProto(scheduler::Isolation isolation);
// Nothing for a stage that this version does not know.
std::optional<scheduler::Stage> StageFromProto(v1::Stage stage);

bool HasInput(const v1::GenerateRequest& request, v1::InputRole role);

// Evaluations of the transformer that each output takes.
int32_t Evaluations(const v1::GenerateRequest& request);

// Where a generation keeps the picture that is its request's input `index`. Deleting what lies
// under the generation's name deletes it too.
std::string InputBlobKey(const std::string& generation, int index);

// How an input's pixels are wanted.
PictureUse UseOf(const v1::InputImage& input);

// Sequences that a step packs for one job: two with classifier-free guidance.
int Branches(const v1::GenerateRequest& request, v1::Model::Guidance guidance);

// Whether a preview is due after `steps_done` of an output. Never after the last: the picture
// itself is on its way then.
bool PreviewDue(const v1::GenerateRequest& request, int32_t steps_done);

// Everything of an OpenSlot that is the request's; slot, lease, checkpoint and pictures are the
// caller's.
void FillOpenSlot(const v1::GenerateRequest& request, int output_index, v1::OpenSlot& open);

// A picture's metadata: all that is needed to make it again.
std::vector<std::pair<std::string, std::string>> PictureTexts(const v1::GenerateRequest& request,
                                                              int output_index,
                                                              const std::string& numerics_id);

}  // namespace darkroom::engine
