#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace darkroom {

// The whole of a file that nobody but this process's user can read. Errors are for the operator and
// name the path: SECRET_FILE_UNREADABLE, SECRET_FILE_EXPOSED (its mode lets others read it),
// SECRET_FILE_INVALID (not `bytes` long).
absl::StatusOr<std::string> ReadSecretFile(const std::string& path, size_t bytes);

// The same; made first, of random bytes, when there is no such file. Durable when it returns: what
// was hashed with a lost pepper is lost with it.
absl::StatusOr<std::string> ReadOrMakeSecretFile(const std::string& path, size_t bytes);

// Writes `text` where only this process's user can read it, durably, in place of what was there.
absl::Status WriteSecretFile(const std::string& path, const std::string& text);

}  // namespace darkroom
