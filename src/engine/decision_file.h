#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace darkroom::engine {

// Where one daemon's decision log (scheduler/decision_log.h) goes: a file of its own for each
// start, "{boot}.log", in one folder. Those of earlier starts are deleted, the oldest first, until
// they take at most half of the bound; this start's ends at the other half, since only a log that
// begins with its daemon can run again. A daemon that dies leaves at most a torn tail.
//
// Used by one thread.
class DecisionFile {
 public:
  // Makes the folder. UNAVAILABLE (DECISION_LOG_UNWRITABLE).
  static absl::StatusOr<std::unique_ptr<DecisionFile>> Open(const std::string& folder, int64_t boot,
                                                            int64_t bytes_max);
  ~DecisionFile();
  DecisionFile(const DecisionFile&) = delete;
  DecisionFile& operator=(const DecisionFile&) = delete;

  // Once one does not fit, or cannot be written, nothing is recorded any more; that is logged.
  void Append(std::string_view bytes);

  const std::string& path() const { return path_; }
  bool recording() const { return fd_ >= 0; }

 private:
  DecisionFile(std::string path, int fd, int64_t bytes_left)
      : path_(std::move(path)), fd_(fd), bytes_left_(bytes_left) {}
  void Stop(std::string_view why);

  const std::string path_;
  int fd_;
  int64_t bytes_left_;
};

}  // namespace darkroom::engine
