#include "main/cli/output_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/error.h"
#include "main/cli/names.h"

namespace darkroom::cli {
namespace {

// The folder of a path, never empty.
std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::Status FileError(const std::string& what, const std::string& path, int error_number) {
  return Error(
      error_number == ENOENT ? absl::StatusCode::kNotFound : absl::StatusCode::kPermissionDenied,
      "FILE_NOT_WRITABLE",
      absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(error_number)));
}

absl::Status DataLoss(int index, std::string_view what) {
  return Error(absl::StatusCode::kDataLoss, "OUTPUT_DAMAGED",
               absl::StrCat("output ", index, " ", std::string(what)));
}

}  // namespace

OutputFiles::~OutputFiles() {
  for (auto& [index, part] : parts_) {
    if (part.fd >= 0) close(part.fd);
    if (!part.temporary_path.empty()) unlink(part.temporary_path.c_str());
  }
}

absl::Status OutputFiles::Check(int num_images) const {
  if (num_images > 1 && !absl::StrContains(pattern_, "{index}") &&
      !absl::StrContains(pattern_, "{seed}")) {
    const std::filesystem::path path(pattern_);
    const std::string nearest =
        (path.parent_path() / (path.stem().string() + "-{index}" + path.extension().string()))
            .string();
    return Error(absl::StatusCode::kInvalidArgument, "OUT_NEEDS_INDEX",
                 absl::StrCat("--out names one file for ", num_images,
                              " images; it must have {index} or {seed}; nearest: ", nearest));
  }
  const std::string folder = FolderOf(pattern_);
  if (access(folder.c_str(), W_OK | X_OK) != 0) return FileError("write into", folder, errno);
  if (std::filesystem::is_directory(pattern_)) return FileError("write", pattern_, EISDIR);
  return absl::OkStatus();
}

absl::StatusOr<OutputFiles::Part*> OutputFiles::Open(int index) {
  Part& part = parts_[index];
  if (part.fd >= 0) return &part;
  std::string path = absl::StrCat(FolderOf(pattern_), "/.darkroom-XXXXXX");
  part.fd = mkostemp(path.data(), O_CLOEXEC);
  if (part.fd < 0) return FileError("create a file in", FolderOf(pattern_), errno);
  part.temporary_path = path;
  return &part;
}

absl::Status OutputFiles::Add(const v1::GenerateEvent::OutputChunk& chunk) {
  const auto part = Open(chunk.output_index());
  if (!part.ok()) return part.status();
  if (chunk.offset() != (*part)->bytes) {
    return DataLoss(chunk.output_index(), "came with a gap");
  }
  std::string_view rest = chunk.data();
  while (!rest.empty()) {
    const ssize_t written = write((*part)->fd, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", (*part)->temporary_path, errno);
    rest.remove_prefix(static_cast<size_t>(written));
  }
  (*part)->bytes += static_cast<int64_t>(chunk.data().size());
  (*part)->digest.Update(chunk.data());
  return absl::OkStatus();
}

std::string OutputFiles::PathFor(const v1::Generation& generation,
                                 const v1::Generation::Output& output) const {
  return absl::StrReplaceAll(pattern_, {{"{index}", absl::StrCat(output.index())},
                                        {"{seed}", absl::StrCat(output.seed())},
                                        {"{id}", IdOf(generation.name())}});
}

absl::StatusOr<std::vector<std::string>> OutputFiles::Finish(const v1::Generation& generation) {
  std::vector<std::string> paths;
  for (const auto& output : generation.outputs()) {
    const auto found = parts_.find(output.index());
    if (found == parts_.end() || found->second.bytes != output.size_bytes()) {
      return DataLoss(output.index(), "did not come whole");
    }
    Part& part = found->second;
    if (!output.sha256().empty() && part.digest.HexDigest() != output.sha256()) {
      return DataLoss(output.index(), "is not what the server recorded (SHA-256 differs)");
    }
    const std::string path = PathFor(generation, output);
    // mkostemp gave it to its owner alone; a picture is an ordinary file.
    const mode_t mask = umask(0);
    umask(mask);
    fchmod(part.fd, 0666 & ~mask);
    if (close(std::exchange(part.fd, -1)) != 0 ||
        rename(part.temporary_path.c_str(), path.c_str()) != 0) {
      return FileError("write", path, errno);
    }
    part.temporary_path.clear();
    paths.push_back(path);
  }
  return paths;
}

}  // namespace darkroom::cli
