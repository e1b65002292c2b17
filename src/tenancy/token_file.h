#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "darkroom/principal.h"
#include "tenancy/token_verifier.h"

namespace darkroom {

// A TokenVerifier whose keys are in a file that may be replaced at any time, as key rotation does.
// Thread-safe.
class TokenFile {
 public:
  // FAILED_PRECONDITION (JWKS_UNREADABLE) or INVALID_ARGUMENT (JWKS_INVALID), naming the path.
  static absl::StatusOr<std::unique_ptr<TokenFile>> Open(std::string path,
                                                         TokenVerifier::Options options);

  // As TokenVerifier's, by the keys last read.
  absl::StatusOr<Principal> Verify(std::string_view token, absl::Time now) const;

  // Reads the file again if it was replaced or changed. A file that cannot be used leaves the keys
  // as they were, and is told once. One thread at a time.
  absl::Status Poll();

 private:
  TokenFile(std::string path, TokenVerifier::Options options)
      : path_(std::move(path)), options_(std::move(options)) {}

  const std::string path_;
  const TokenVerifier::Options options_;
  // What the file looked like when it was last read: inode, size and times.
  std::string seen_;
  mutable Mutex mutex_;
  std::shared_ptr<const TokenVerifier> verifier_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace darkroom
