#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "ipc/byte_stream.h"

namespace darkroom {

// AF_UNIX SOCK_STREAM; descriptors cross as SCM_RIGHTS. A write never raises SIGPIPE.
class UnixStream final : public ByteStream {
 public:
  enum class Mode {
    kBlocking,  // Read and Write wait; kWouldBlock never happens
    kNonBlocking,
  };
  UnixStream(UniqueFd socket, Mode mode) : socket_(std::move(socket)), mode_(mode) {}

  absl::StatusOr<Progress> Read(absl::Span<char> buffer,
                                std::vector<UniqueFd>& descriptors) override;
  absl::StatusOr<Progress> Write(std::string_view bytes,
                                 absl::Span<const int> descriptors) override;
  bool CarriesDescriptors() const override { return true; }
  int PollFd() const override { return socket_.get(); }
  void CloseRead() override;

 private:
  UniqueFd socket_;
  Mode mode_;
};

// Two connected sockets, both close-on-exec.
absl::StatusOr<std::pair<UniqueFd, UniqueFd>> UnixSocketPair();

}  // namespace darkroom
