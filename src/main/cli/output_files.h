#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sha256.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::cli {

// Writes a generation's outputs as their pieces come. A file appears under its name only once it is
// whole and its digest is the one that the server told; what was begun and not finished is removed.
class OutputFiles {
 public:
  // `pattern`: a path with {index} for the output's number, {seed} and {id}. Several outputs need
  // {index} or {seed}.
  explicit OutputFiles(std::string pattern) : pattern_(std::move(pattern)) {}
  ~OutputFiles();
  OutputFiles(const OutputFiles&) = delete;
  OutputFiles& operator=(const OutputFiles&) = delete;

  // Before anything is generated: INVALID_ARGUMENT when the pattern cannot tell `num_images` apart,
  // PERMISSION_DENIED or NOT_FOUND when its folder cannot be written.
  absl::Status Check(int num_images) const;

  absl::Status Add(const v1::GenerateEvent::OutputChunk& chunk);
  // DATA_LOSS when an output is not whole or not the one the server recorded. Returns the paths in
  // order of the outputs.
  absl::StatusOr<std::vector<std::string>> Finish(const v1::Generation& generation);

 private:
  struct Part {
    std::string temporary_path;
    int fd = -1;
    int64_t bytes = 0;
    Sha256 digest;
  };

  absl::StatusOr<Part*> Open(int index);
  std::string PathFor(const v1::Generation& generation, const v1::Generation::Output& output) const;

  const std::string pattern_;
  std::map<int, Part> parts_;
};

}  // namespace darkroom::cli
