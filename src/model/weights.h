#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/tensor.h"
#include "model/model_folder.h"
#include "model/safetensors.h"

namespace darkroom {

// What diffusers and transformers name a component's weights.
inline constexpr std::string_view kDiffusersWeights = "diffusion_pytorch_model.safetensors";
inline constexpr std::string_view kTransformersWeights = "model.safetensors";

// The tensors of one component, from one file (diffusion_pytorch_model.safetensors) or from the
// shards that its index (diffusion_pytorch_model.safetensors.index.json) names. Loading is two
// passes: first a model takes every tensor by name and shape, which costs nothing; Check() then
// reports all that is missing, misshaped or left over at once; only then are tensors packed.
class Weights {
 public:
  // `component`: the folder's name, "transformer"; empty for a folder that is one network.
  // `weights_file`: the file's name when there are
  // no shards. Formats of all files are checked here.
  static absl::StatusOr<Weights> Open(ModelFolder& folder, std::string_view component,
                                      std::string_view weights_file = kDiffusersWeights);

  // A view of the file's bytes in host memory, possibly unaligned (see ToFloat), valid as long as
  // this object; an empty tensor when there is a problem, which Check() then reports. `old_name` is
  // looked up when there is no tensor `name`.
  Tensor Take(const std::string& name, std::initializer_list<int64_t> shape,
              const std::string& old_name = "");
  bool Has(std::string_view name) const;
  // Tensors that this version has no use for, by the beginning of their names.
  void Ignore(absl::Span<const std::string> prefixes);

  // OK, or one INVALID_ARGUMENT (MODEL_INVALID) that lists every missing, misshaped and left over
  // tensor with expected and found shapes (each kind up to kProblemsListedMax, then counted).
  absl::Status Check() const;

  // Gives back the memory of what was read. Tensors stay valid: what is read again comes from the
  // page cache or from disk.
  void ReleasePages() const;

  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  size_t size_bytes() const;
  // Numbers in all tensors, ignored ones included.
  int64_t parameters() const;

 private:
  struct Source {
    const SafetensorsFile* file;
    const SafetensorsEntry* entry;
  };

  absl::Status OpenSharded(ModelFolder& folder, const std::string& index_file);
  absl::Status Add(std::unique_ptr<SafetensorsFile> file);

  std::string component_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  absl::flat_hash_map<std::string, Source> sources_;
  absl::flat_hash_set<std::string> taken_;
  std::vector<std::string> ignored_;
  std::vector<std::string> missing_;
  std::vector<std::string> misshaped_;
};

// A tensor's numbers as float32, exactly. REQUIRES: dtype f32, bf16 or f16.
std::vector<float> ToFloat(const Tensor& tensor);
// Several of them one after another: rows of matrices with equal columns.
std::vector<float> ToFloat(absl::Span<const Tensor> tensors);

}  // namespace darkroom
