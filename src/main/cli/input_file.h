#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::cli {

// Reads a picture that is to be sent. Errors name the file and say what is wrong with it: missing,
// a folder, not readable, empty, or larger than the server takes by default (FILE_UNUSABLE).
absl::StatusOr<std::string> ReadPictureFile(const std::string& path);

// Puts the picture at `path` into `input`: inside the request where it fits, or uploaded first, as
// an asset.
absl::Status AttachPicture(const std::string& path, Client& client, v1::InputImage& input);

}  // namespace darkroom::cli
