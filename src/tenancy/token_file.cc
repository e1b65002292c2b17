#include "tenancy/token_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "tenancy/jwks.h"
#include "tenancy/limits.h"

namespace darkroom {
namespace {

absl::Status Unreadable(const std::string& path) {
  return Error(absl::StatusCode::kFailedPrecondition, "JWKS_UNREADABLE",
               absl::StrCat("cannot read ", path, ": ", std::strerror(errno)));
}

// At most one byte more than a file of keys may have.
absl::StatusOr<std::string> ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(tenancy_limits::kJwksBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) return Unreadable(path);
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenFile>> TokenFile::Open(std::string path,
                                                           TokenVerifier::Options options) {
  std::unique_ptr<TokenFile> file(new TokenFile(std::move(path), std::move(options)));
  if (absl::Status status = file->Poll(); !status.ok()) return status;
  return file;
}

absl::StatusOr<Principal> TokenFile::Verify(std::string_view token, absl::Time now) const {
  std::shared_ptr<const TokenVerifier> verifier;
  {
    MutexLock lock(mutex_);
    verifier = verifier_;
  }
  return verifier->Verify(token, now);
}

absl::Status TokenFile::Poll() {
  struct stat about {};
  if (::stat(path_.c_str(), &about) != 0) {
    // Between the two halves of a replacement there may be no file.
    return std::exchange(seen_, "none") == "none" ? absl::OkStatus() : Unreadable(path_);
  }
  std::string looks = absl::StrCat(about.st_dev, " ", about.st_ino, " ", about.st_size, " ",
                                   about.st_mtim.tv_sec, " ", about.st_mtim.tv_nsec, " ",
                                   about.st_ctim.tv_sec, " ", about.st_ctim.tv_nsec);
  if (looks == seen_) return absl::OkStatus();
  seen_ = std::move(looks);
  auto text = ReadAll(path_);
  if (!text.ok()) return text.status();
  auto keys = ParseJwks(*text);
  if (!keys.ok()) {
    return Error(absl::StatusCode::kInvalidArgument, "JWKS_INVALID",
                 absl::StrCat(path_, ": ", std::string(keys.status().message())));
  }
  auto verifier = std::make_shared<const TokenVerifier>(options_, *std::move(keys));
  MutexLock lock(mutex_);
  verifier_ = std::move(verifier);
  return absl::OkStatus();
}

}  // namespace darkroom
