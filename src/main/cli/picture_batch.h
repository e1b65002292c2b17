#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/client.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::cli {

// What came of one request for one picture.
struct GeneratedPicture {
  absl::Status status;
  std::string bytes;          // the picture's file, checked against its digest
  v1::Generation generation;  // as it ended
  double wall_seconds = 0;    // from the call to the last byte
};

// Generates one picture for each request, all at once, each on a thread of its own, and returns
// when all have ended. Generations that have succeeded are deleted from the server once their
// bytes are here. The first failure, or `interrupt`, breaks off the others (CANCELLED), which the
// server then cancels: REQUIRES requests without a request id.
std::vector<GeneratedPicture> GeneratePictures(Client& client,
                                               absl::Span<const v1::GenerateRequest> requests,
                                               const Canceller& interrupt);

}  // namespace darkroom::cli
