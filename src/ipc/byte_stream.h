#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"

namespace darkroom {

// A connected, ordered, reliable stream of bytes: what frames travel on. AF_UNIX for a worker of
// this machine (unix_stream.h); TLS over TCP for a remote one goes behind the same interface.
//
// Thread: one reader and one writer at a time, which may be two threads; CloseRead from any.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  enum class State {
    kMoved,       // `bytes` were read or written, at least one
    kWouldBlock,  // nothing moved; poll PollFd and come again
    kEnd,         // the peer is gone: no more bytes come, or none can be written
  };
  struct Progress {
    State state = State::kMoved;
    size_t bytes = 0;
  };

  // Reads some bytes, 1 to buffer.size(). Descriptors that came with any of them are appended to
  // `descriptors`. RESOURCE_EXHAUSTED when descriptors were lost for want of room.
  virtual absl::StatusOr<Progress> Read(absl::Span<char> buffer,
                                        std::vector<UniqueFd>& descriptors) = 0;

  // Writes some of `bytes`. `descriptors` travel with the first byte: if anything was written, all
  // of them were. REQUIRES: no descriptors unless CarriesDescriptors.
  virtual absl::StatusOr<Progress> Write(std::string_view bytes,
                                         absl::Span<const int> descriptors) = 0;

  // Whether memfds can cross.
  virtual bool CarriesDescriptors() const = 0;

  // To wait on for reading and writing; owned by the stream.
  virtual int PollFd() const = 0;

  // Makes a Read that blocks, and every later one, see the end.
  virtual void CloseRead() = 0;
};

}  // namespace darkroom
