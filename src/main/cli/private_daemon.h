#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"

namespace darkroom::cli {

// A darkroomd of this command's own: on a free loopback port, with a state folder that goes away
// with it, serving one model folder in several precisions as models/{precision}. It gets no signal
// of the terminal's, and is killed by the kernel when this process goes without stopping it.
//
// Thread: the one that starts it, which must live as long.
class PrivateDaemon {
 public:
  // Returns once it listens; its models may still be loading. UNAVAILABLE: DAEMON_NOT_STARTED with
  // the end of its log; CANCELLED when `interrupt` is cancelled first.
  static absl::StatusOr<std::unique_ptr<PrivateDaemon>> Start(
      const std::string& model_folder, const std::vector<std::string>& precisions,
      const Canceller& interrupt);
  // Stops it: it is asked first and killed when that takes too long.
  ~PrivateDaemon();
  PrivateDaemon(const PrivateDaemon&) = delete;
  PrivateDaemon& operator=(const PrivateDaemon&) = delete;

  // "127.0.0.1:12345"
  const std::string& server() const { return server_; }
  // `status`, or where the daemon has ended meanwhile: UNAVAILABLE (DAEMON_ENDED) with the end of
  // its log.
  absl::Status Explain(const absl::Status& status);

 private:
  PrivateDaemon() = default;
  std::string Path(const std::string& file) const { return folder_ + "/" + file; }
  absl::Status WriteConfig(const std::string& model_folder,
                           const std::vector<std::string>& precisions) const;
  absl::Status Spawn();
  absl::Status AwaitPort(const Canceller& interrupt);
  // Whether it has ended; then it is no longer a process.
  bool Ended();
  std::string LogTail() const;

  std::string folder_;
  pid_t pid_ = -1;
  std::string server_;
};

}  // namespace darkroom::cli
