#include "model/weights.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

constexpr std::string_view kIndexSuffix = ".index.json";

std::string ShapeText(const std::string& dtype, absl::Span<const int64_t> shape) {
  return absl::StrCat(dtype, " [", absl::StrJoin(shape, ", "), "]");
}

bool IsReal(std::optional<DType> dtype) {
  return dtype == DType::kF32 || dtype == DType::kBf16 || dtype == DType::kF16;
}

// Names of files come from the index: they may name nothing outside the component's folder.
bool IsShardName(std::string_view name) {
  constexpr std::string_view kExtension = ".safetensors";
  if (name.size() <= kExtension.size() || name.size() > 255 || name.front() == '.') return false;
  if (name.substr(name.size() - kExtension.size()) != kExtension) return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  });
}

std::string InComponent(const std::string& component, std::string_view file) {
  return component.empty() ? std::string(file) : absl::StrCat(component, "/", std::string(file));
}

// What to say when a component has no weights that can be loaded.
absl::Status NoWeights(const ModelFolder& folder, const std::string& component,
                       const std::string& weights_file) {
  std::vector<std::string> pickles;
  std::vector<std::string> variants;
  for (const std::string& name : folder.List(component)) {
    if (absl::EndsWith(name, ".bin") || absl::EndsWith(name, ".pt") ||
        absl::EndsWith(name, ".pth") || absl::EndsWith(name, ".ckpt")) {
      pickles.push_back(name);
    } else if (absl::EndsWith(name, ".safetensors")) {
      variants.push_back(name);
    }
  }
  std::string problem = "is missing";
  if (!variants.empty()) {
    absl::StrAppend(&problem, "; the folder has ", absl::StrJoin(variants, ", "),
                    ": rename the one to use");
  } else if (!pickles.empty()) {
    absl::StrAppend(&problem, "; the folder has ", absl::StrJoin(pickles, ", "),
                    ", which is pickle and can run any code, so it is never loaded: convert it "
                    "with save_pretrained(..., safe_serialization=True)");
  }
  return ModelInvalid(weights_file, problem);
}

// Which tensor each shard must hold, by the index.
using ShardMap = std::map<std::string, std::vector<std::string>>;

absl::StatusOr<ShardMap> ParseShardMap(const Json& index, const std::string& index_file) {
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    return ModelInvalid(index_file, "weight_map is missing or empty");
  }
  ShardMap shards;
  for (const auto& [tensor, shard] : map->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (!IsShardName(name)) {
      return ModelInvalid(index_file,
                          absl::StrCat("weight_map gives tensor \"", tensor,
                                       "\" a file that is not NAME.safetensors beside the index"));
    }
    shards[name].push_back(tensor);
    if (shards.size() > model_limits::kShardsMax) {
      return ModelInvalid(index_file,
                          absl::StrCat("names more than ", model_limits::kShardsMax, " files"));
    }
  }
  return shards;
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1F;
  uint32_t mantissa = half & 0x3FF;
  uint32_t bits = 0;
  if (exponent == 0x1F) {
    bits = sign | 0x7F800000u | (mantissa << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    // Zero or subnormal: exact as a product.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    std::memcpy(&bits, &magnitude, sizeof(bits));
    bits |= sign;
  }
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float Bf16ToFloat(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

void AppendFloats(const Tensor& tensor, std::vector<float>& out) {
  const auto count = static_cast<size_t>(tensor.size());
  const auto* bytes = tensor.as<const char>();
  const size_t begin = out.size();
  out.resize(begin + count);
  if (tensor.dtype == DType::kF32) {
    std::memcpy(out.data() + begin, bytes, count * sizeof(float));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    uint16_t half = 0;
    std::memcpy(&half, bytes + i * sizeof(half), sizeof(half));
    out[begin + i] = tensor.dtype == DType::kBf16 ? Bf16ToFloat(half) : HalfToFloat(half);
  }
}

// "3 missing tensors: a, b, c"
void AppendProblems(const char* kind, const std::vector<std::string>& problems, std::string& out) {
  if (problems.empty()) return;
  const size_t listed = std::min<size_t>(problems.size(), model_limits::kProblemsListedMax);
  absl::StrAppend(
      &out, out.empty() ? "" : "; ", problems.size(), " ", kind,
      problems.size() == 1 ? " tensor: " : " tensors: ",
      absl::StrJoin(problems.begin(), problems.begin() + static_cast<int>(listed), ", "));
  if (listed < problems.size()) {
    absl::StrAppend(&out, " and ", problems.size() - listed, " more");
  }
}

}  // namespace

absl::StatusOr<Weights> Weights::Open(ModelFolder& folder, std::string_view component,
                                      std::string_view weights_file) {
  Weights weights;
  weights.component_ = std::string(component);
  const std::string file = InComponent(weights.component_, weights_file);
  const std::string index_file = absl::StrCat(file, std::string(kIndexSuffix));
  if (folder.Exists(index_file)) {
    if (absl::Status status = weights.OpenSharded(folder, index_file); !status.ok()) return status;
    return weights;
  }
  if (!folder.Exists(file)) return NoWeights(folder, weights.component_, file);
  auto opened = folder.OpenSafetensors(file);
  if (!opened.ok()) return opened.status();
  if (absl::Status status = weights.Add(*std::move(opened)); !status.ok()) return status;
  return weights;
}

absl::Status Weights::OpenSharded(ModelFolder& folder, const std::string& index_file) {
  absl::StatusOr<Json> index = folder.ReadJson(index_file);
  if (!index.ok()) return index.status();
  absl::StatusOr<ShardMap> shards = ParseShardMap(*index, index_file);
  if (!shards.ok()) return shards.status();

  std::vector<std::string> absent;
  for (const auto& [shard, tensors] : *shards) {
    if (!folder.Exists(InComponent(component_, shard))) absent.push_back(shard);
  }
  if (!absent.empty()) {
    return ModelInvalid(component_.empty() ? "the folder" : component_,
                        absl::StrCat(absent.size(), " of ", shards->size(),
                                     " shards are missing: ", absl::StrJoin(absent, ", ")));
  }
  for (const auto& [shard, tensors] : *shards) {
    auto opened = folder.OpenSafetensors(InComponent(component_, shard));
    if (!opened.ok()) return opened.status();
    for (const std::string& tensor : tensors) {
      if (!(*opened)->entries().contains(tensor)) {
        return ModelInvalid((*opened)->file(), absl::StrCat("has no tensor \"", tensor,
                                                            "\", which the index places there"));
      }
    }
    if ((*opened)->entries().size() != tensors.size()) {
      return ModelInvalid((*opened)->file(),
                          absl::StrCat("has ", (*opened)->entries().size(),
                                       " tensors, of which the index knows ", tensors.size()));
    }
    if (absl::Status status = Add(*std::move(opened)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Weights::Add(std::unique_ptr<SafetensorsFile> file) {
  for (const auto& [name, entry] : file->entries()) {
    if (!sources_.emplace(name, Source{file.get(), &entry}).second) {
      return ModelInvalid(file->file(),
                          absl::StrCat("tensor \"", name, "\" is in another shard too"));
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

Tensor Weights::Take(const std::string& name, std::initializer_list<int64_t> shape,
                     const std::string& old_name) {
  auto found = sources_.find(name);
  if (found == sources_.end() && !old_name.empty()) found = sources_.find(old_name);
  const absl::Span<const int64_t> expected(shape.begin(), shape.size());
  if (found == sources_.end()) {
    missing_.push_back(absl::StrCat(name, " [", absl::StrJoin(expected, ", "), "]"));
    return Tensor();
  }
  taken_.insert(found->first);
  const SafetensorsEntry& entry = *found->second.entry;
  if (!IsReal(entry.dtype) || absl::MakeConstSpan(entry.shape) != expected) {
    misshaped_.push_back(absl::StrCat(found->first, " is ",
                                      ShapeText(entry.dtype_name, entry.shape), ", expected ",
                                      ShapeText("F32, BF16 or F16", expected)));
    return Tensor();
  }
  return found->second.file->View(entry);
}

bool Weights::Has(std::string_view name) const { return sources_.contains(std::string(name)); }

void Weights::Ignore(absl::Span<const std::string> prefixes) {
  ignored_.insert(ignored_.end(), prefixes.begin(), prefixes.end());
}

absl::Status Weights::Check() const {
  std::vector<std::string> extra;
  for (const auto& [name, source] : sources_) {
    const std::string& tensor = name;
    const bool ignored = std::any_of(
        ignored_.begin(), ignored_.end(),
        [&tensor](const std::string& prefix) { return absl::StartsWith(tensor, prefix); });
    if (ignored || taken_.contains(name)) continue;
    extra.push_back(
        absl::StrCat(name, " ", ShapeText(source.entry->dtype_name, source.entry->shape)));
  }
  std::sort(extra.begin(), extra.end());
  std::string problems;
  AppendProblems("missing", missing_, problems);
  AppendProblems("misshaped", misshaped_, problems);
  AppendProblems("unknown", extra, problems);
  if (problems.empty()) return absl::OkStatus();
  return ModelInvalid(component_.empty() ? "the weights" : component_, problems);
}

void Weights::ReleasePages() const {
  for (const std::unique_ptr<SafetensorsFile>& file : files_) file->ReleasePages();
}

size_t Weights::size_bytes() const {
  size_t bytes = 0;
  for (const auto& file : files_) bytes += file->bytes().size();
  return bytes;
}

int64_t Weights::parameters() const {
  int64_t count = 0;
  for (const auto& [name, source] : sources_) {
    count += static_cast<int64_t>(source.entry->elements);
  }
  return count;
}

std::vector<float> ToFloat(const Tensor& tensor) {
  return ToFloat(absl::MakeConstSpan(&tensor, 1));
}

std::vector<float> ToFloat(absl::Span<const Tensor> tensors) {
  size_t count = 0;
  for (const Tensor& tensor : tensors) count += static_cast<size_t>(tensor.size());
  std::vector<float> out;
  out.reserve(count);
  for (const Tensor& tensor : tensors) AppendFloats(tensor, out);
  return out;
}

}  // namespace darkroom
