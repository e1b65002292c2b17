#include "model/model_folder.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

std::string Quoted(absl::Span<const std::string_view> names) {
  return absl::StrJoin(names, " or ",
                       [](std::string* out, std::string_view name) { out->append(name); });
}

}  // namespace

absl::StatusOr<ModelFolder> ModelFolder::Open(const std::string& path,
                                              std::string_view first_file) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return Error(absl::StatusCode::kInvalidArgument, "MODEL_INVALID",
                 "the path is not a folder that can be read");
  }
  ModelFolder folder(path);
  if (!folder.Exists(first_file)) {
    return ModelInvalid(first_file,
                        "is missing; a model is a folder in diffusers layout, not a single file");
  }
  absl::StatusOr<Json> index = folder.ReadJson(first_file);
  if (!index.ok()) return index.status();
  const auto family = index->find("_class_name");
  if (family == index->end() || !family->is_string()) {
    return ModelInvalid(first_file, "_class_name is missing; it must name the pipeline's class");
  }
  folder.family_ = family->get<std::string>();
  folder.index_ = std::make_shared<const Json>(*std::move(index));
  return folder;
}

const Json& ModelFolder::index() const { return *index_; }

absl::Status ModelFolder::RequireComponent(std::string_view component,
                                           absl::Span<const std::string_view> classes) const {
  const std::string name(component);
  const auto entry = index_->find(name);
  if (entry == index_->end() || !entry->is_array() || entry->size() != 2 ||
      !(*entry)[1].is_string()) {
    return ModelInvalid(kIndexFile, absl::StrCat(name, " must be [\"diffusers\", \"",
                                                 std::string(classes.front()), "\"]"));
  }
  const auto& found = (*entry)[1].get_ref<const std::string&>();
  if (std::find(classes.begin(), classes.end(), found) == classes.end()) {
    return ModelInvalid(kIndexFile,
                        absl::StrCat(name, " is a ", found,
                                     ", which is not supported; supported: ", Quoted(classes)));
  }
  return absl::OkStatus();
}

std::string ModelFolder::PathOf(std::string_view file) const {
  return absl::StrCat(path_, "/", std::string(file));
}

bool ModelFolder::Exists(std::string_view file) const {
  std::error_code error;
  return std::filesystem::exists(PathOf(file), error);
}

absl::StatusOr<std::string> ModelFolder::ReadText(std::string_view file, size_t bytes_max) const {
  std::error_code error;
  if (!std::filesystem::is_regular_file(PathOf(file), error)) {
    return ModelInvalid(file, "is missing or not a regular file");
  }
  const uintmax_t size = std::filesystem::file_size(PathOf(file), error);
  if (error) return ModelInvalid(file, "cannot be read");
  if (size > bytes_max) {
    return ModelInvalid(file,
                        absl::StrCat("has ", size, " bytes; at most ", bytes_max, " are allowed"));
  }
  std::ifstream stream(PathOf(file), std::ios::binary);
  std::string text(size, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(size));
  if (!stream) return ModelInvalid(file, "cannot be read");
  return text;
}

absl::StatusOr<std::string> ModelFolder::ReadFile(std::string_view file, size_t bytes_max) {
  absl::StatusOr<std::string> text = ReadText(file, bytes_max);
  if (!text.ok()) return text.status();
  if (text->empty()) return ModelInvalid(file, "is empty; copy the file again");
  if (absl::StartsWith(*text, "version https://git-lfs")) {
    return ModelInvalid(file, "is a Git LFS pointer, not the file itself; run: git lfs pull");
  }
  digests_[std::string(file)] = Sha256Hex(*text);
  return text;
}

absl::StatusOr<Json> ModelFolder::ReadJson(std::string_view file) {
  absl::StatusOr<std::string> text = ReadFile(file, model_limits::kJsonBytesMax);
  if (!text.ok()) return text.status();
  return ParseJsonObject(*text, file);
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> ModelFolder::OpenSafetensors(
    std::string_view file) const {
  return SafetensorsFile::Open(PathOf(file), file);
}

std::vector<std::string> ModelFolder::List(std::string_view folder) const {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(PathOf(folder), error);
  const std::filesystem::directory_iterator end;
  for (; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string ModelFolder::Hash(const SafetensorsFile& file,
                              absl::FunctionRef<void(size_t bytes)> read) {
  Sha256 hash;
  std::string_view rest = file.bytes();
  while (!rest.empty()) {
    const std::string_view chunk = rest.substr(0, model_limits::kHashChunkBytes);
    hash.Update(chunk);
    rest.remove_prefix(chunk.size());
    read(chunk.size());
  }
  return hash.HexDigest();
}

void ModelFolder::Use(const SafetensorsFile& file, std::string sha256) {
  digests_[file.file()] = std::move(sha256);
}

std::string ModelFolder::Digest() const {
  Sha256 hash;
  for (const auto& [file, digest] : digests_) {
    // Lengths keep a name's end and a digest's begin apart.
    hash.Update(absl::StrCat(file.size(), ":", file, digest.size(), ":", digest));
  }
  return hash.HexDigest();
}

std::string ModelFolder::License() const {
  for (const std::string_view file : {"README.md", "LICENSE", "LICENSE.md"}) {
    std::ifstream stream(PathOf(file), std::ios::binary);
    std::string text(model_limits::kFrontMatterBytesMax, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
    const std::vector<std::string> lines = absl::StrSplit(text, '\n');
    if (absl::StripAsciiWhitespace(lines.front()) != "---") continue;
    for (size_t i = 1; i < lines.size(); ++i) {
      absl::string_view line = absl::StripTrailingAsciiWhitespace(lines[i]);
      if (line == "---") break;
      if (!absl::ConsumePrefix(&line, "license:")) continue;
      line = absl::StripAsciiWhitespace(line);
      for (const absl::string_view quote : {"\"", "'"}) {
        if (absl::ConsumePrefix(&line, quote)) absl::ConsumeSuffix(&line, quote);
      }
      return std::string(line);
    }
  }
  return "";
}

}  // namespace darkroom
