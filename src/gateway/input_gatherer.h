#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "darkroom/assets.h"
#include "darkroom/engine.h"
#include "darkroom/picture_decoder.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom {

// Where uploaded pictures are looked up and decoded; null where the server takes none.
struct PictureServices {
  Assets* assets = nullptr;
  PictureDecoder* decoder = nullptr;
};

// Reads and decodes the pictures of `request`, one after the other, and gives back `submit` with
// their bytes, their pixels and its size resolved (see ResolvePictures). Errors of a picture name
// its field. `submit.request` is the resolved request; the services must outlive the call.
void GatherInputs(const PictureServices& services, const v1::Model& model,
                  v1::GenerateRequest request, Engine::Submit submit,
                  Callback<absl::StatusOr<Engine::Submit>> done);

}  // namespace darkroom
