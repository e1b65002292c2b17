#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "darkroom/tensor.h"

namespace darkroom {

// The safetensors format: an 8-byte little-endian header length, a JSON header that gives each
// tensor's dtype, shape and offsets, then the tensors' bytes
// (https://github.com/huggingface/safetensors, "Format").
//
// One tensor of a file. `dtype` is none for types of the format that Darkroom has no use for yet.
struct SafetensorsEntry {
  std::string dtype_name;
  std::optional<DType> dtype;
  std::vector<int64_t> shape;
  uint64_t elements = 0;
  uint64_t offset_bytes = 0;  // from the file's begin
  uint64_t size_bytes = 0;
};

// By name, so that what is listed is listed in one order.
using SafetensorsEntries = std::map<std::string, SafetensorsEntry, std::less<>>;

// Checks every rule of the format over the whole file: header length within bounds and within the
// file, first byte '{', a JSON object without duplicate keys, known dtypes, size = shape x dtype
// without overflow, offsets in order that cover the data exactly, without gap or overlap.
// INVALID_ARGUMENT, reason MODEL_INVALID, naming `file`. Pure; `bytes` may be anything.
absl::StatusOr<SafetensorsEntries> ParseSafetensors(std::string_view bytes, std::string_view file);

// A safetensors file mapped read-only. Whoever shortens the file while it is mapped kills the
// process that reads it (SIGBUS): the worker's, which is made to be lost.
class SafetensorsFile {
 public:
  // `path` is opened; `file` is its name in messages.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path,
                                                               std::string_view file);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& file() const { return file_; }
  const SafetensorsEntries& entries() const { return entries_; }
  // Which file this is on disk: other content has another identity, unless somebody sets the clock
  // back to hide a change.
  const std::string& identity() const { return identity_; }
  // The whole file.
  std::string_view bytes() const { return bytes_; }
  // A view of host memory that must not be written; valid as long as this object.
  // REQUIRES: the entry is of this file and has a dtype and at most Tensor::kRankMax dimensions.
  Tensor View(const SafetensorsEntry& entry) const;
  // Unmaps what was read so far; what is read again is mapped again. Only the process's memory
  // changes, and no content.
  void ReleasePages() const;

 private:
  SafetensorsFile(std::string_view file, std::string_view bytes) : file_(file), bytes_(bytes) {}

  std::string file_;
  std::string identity_;
  std::string_view bytes_;
  SafetensorsEntries entries_;
};

}  // namespace darkroom
