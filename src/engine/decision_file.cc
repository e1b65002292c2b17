#include "engine/decision_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/limits.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {
namespace {

namespace fs = std::filesystem;

absl::Status Unwritable(const std::string& path) {
  return Error(absl::StatusCode::kUnavailable, "DECISION_LOG_UNWRITABLE",
               absl::StrCat("the decision log ", path,
                            " cannot be written: ", std::generic_category().message(errno)));
}

// The boot whose log a file is; 0: it is none.
int64_t BootOf(const fs::path& path) {
  const std::string stem = path.stem().string();
  int64_t boot = 0;
  const auto parsed = std::from_chars(stem.data(), stem.data() + stem.size(), boot);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == stem.data() + stem.size();
  return whole && path.extension() == ".log" && boot > 0 ? boot : 0;
}

void DeleteOldest(const std::string& folder, int64_t bytes_max) {
  struct Old {
    int64_t boot;
    int64_t bytes;
    fs::path path;
  };
  std::vector<Old> logs;
  std::error_code error;
  int64_t total = 0;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (static_cast<int>(logs.size()) == kDecisionFilesMax) break;
    const int64_t boot = BootOf(entry.path());
    if (boot == 0) continue;
    const auto bytes = static_cast<int64_t>(entry.file_size(error));
    if (error) continue;
    logs.push_back({boot, bytes, entry.path()});
    total += bytes;
  }
  std::sort(logs.begin(), logs.end(), [](const Old& a, const Old& b) { return a.boot < b.boot; });
  for (const Old& old : logs) {
    if (total <= bytes_max) break;
    if (fs::remove(old.path, error)) total -= old.bytes;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<DecisionFile>> DecisionFile::Open(const std::string& folder,
                                                                 int64_t boot, int64_t bytes_max) {
  std::error_code error;
  fs::create_directories(folder, error);
  DeleteOldest(folder, bytes_max / 2);
  const std::string path = absl::StrCat(folder, "/", boot, ".log");
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Unwritable(path);
  return std::unique_ptr<DecisionFile>(new DecisionFile(path, fd, bytes_max / 2));
}

DecisionFile::~DecisionFile() {
  if (fd_ >= 0) ::close(fd_);
}

void DecisionFile::Append(std::string_view bytes) {
  if (fd_ < 0) return;
  if (static_cast<int64_t>(bytes.size()) > bytes_left_) return Stop("it has its bound");
  bytes_left_ -= static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Stop(std::generic_category().message(errno));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void DecisionFile::Stop(std::string_view why) {
  spdlog::warn("the decision log {} ends here: {}", path_, std::string(why));
  ::close(fd_);
  fd_ = -1;
}

}  // namespace darkroom::engine
