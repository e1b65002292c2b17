#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/json.h"
#include "model/safetensors.h"

namespace darkroom {

// A diffusers folder: model_index.json, one folder per component. Or one network in a folder of its
// own, with what belongs to it: config.json instead of the index. Remembers the SHA-256 of every
// file that was used, which together are the model's digest. File names in messages and in the
// digest are relative to the folder.
class ModelFolder {
 public:
  static constexpr std::string_view kIndexFile = "model_index.json";
  static constexpr std::string_view kConfigFile = "config.json";

  // Fails unless `path` is a folder with a `first_file` that has a _class_name.
  static absl::StatusOr<ModelFolder> Open(const std::string& path,
                                          std::string_view first_file = kIndexFile);

  // Its class: "DiTPipeline".
  const std::string& family() const { return family_; }
  // The content of the first file.
  const Json& index() const;
  // Whether the index has this component with one of `classes`; INVALID_ARGUMENT naming what it has
  // and what is supported.
  absl::Status RequireComponent(std::string_view component,
                                absl::Span<const std::string_view> classes) const;

  bool Exists(std::string_view file) const;
  // Reads and parses a JSON file; counts as used.
  absl::StatusOr<Json> ReadJson(std::string_view file);
  // Reads a file that is neither, of at most `bytes_max` bytes; counts as used.
  absl::StatusOr<std::string> ReadFile(std::string_view file, size_t bytes_max);
  // Maps a safetensors file and checks its format. It counts as used once it is hashed.
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> OpenSafetensors(std::string_view file) const;
  // Names in one folder, sorted; empty when there is no such folder.
  std::vector<std::string> List(std::string_view folder) const;

  // The SHA-256 of a mapped file, lower-case hex, which also reads it; `read` is told of every
  // chunk's bytes. Any thread.
  static std::string Hash(const SafetensorsFile& file, absl::FunctionRef<void(size_t bytes)> read);
  // The file counts as used, with this SHA-256.
  void Use(const SafetensorsFile& file, std::string sha256);
  // What Use was told of it.
  std::string DigestOf(const SafetensorsFile& file) const { return digests_.at(file.file()); }
  // SHA-256 over the sorted (file, SHA-256 of its content) of the used files, lower-case hex.
  std::string Digest() const;

  // `license:` of the front matter of README.md or LICENSE; empty when none says it.
  std::string License() const;

 private:
  explicit ModelFolder(std::string path) : path_(std::move(path)) {}
  std::string PathOf(std::string_view file) const;
  absl::StatusOr<std::string> ReadText(std::string_view file, size_t bytes_max) const;

  std::string path_;
  std::string family_;
  std::shared_ptr<const Json> index_;
  std::map<std::string, std::string> digests_;  // by file
};

}  // namespace darkroom
