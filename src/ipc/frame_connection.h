#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/payload.h"
#include "google/protobuf/message_lite.h"
#include "ipc/byte_stream.h"

namespace darkroom {

// Protobuf messages with attachments (sealed memfds) over a byte stream.
//
// A frame is a header of two little-endian 32-bit numbers, the length of the message and the number
// of attachments, then the message. The attachments' descriptors are written with the header's
// first byte, and the reader never asks the stream for a byte beyond the frame it is in: so
// whatever descriptors come while a header is read belong to that frame, however the bytes are cut,
// and the count in the header must agree with them. Descriptors anywhere else are an error.
//
// Works on a blocking stream (Read waits for a message, Flush for all to be written) and on a
// non-blocking one, driven by a poll loop. After an error, or the end, the connection is spent.
//
// Thread: reading (Read) and writing (Queue, Flush) are independent; each by one thread at a time.
class FrameConnection {
 public:
  explicit FrameConnection(std::unique_ptr<ByteStream> stream);

  enum class ReadState { kMessage, kWouldBlock, kEnd };

  // Reads up to one message, replacing `message` and `attachments`. INVALID_ARGUMENT for a
  // malformed frame: too long, too many attachments, a wrong count, not a `message`, an attachment
  // that is not a sealed memfd. DATA_LOSS when the peer goes away inside a frame. Descriptors of a
  // bad frame are closed.
  absl::StatusOr<ReadState> Read(google::protobuf::MessageLite& message,
                                 std::vector<Payload>& attachments);

  // Puts a message behind those that wait; writes nothing. Attachments must be memfds.
  // INVALID_ARGUMENT when the message or its attachments exceed a frame, RESOURCE_EXHAUSTED when
  // the queue is full; nothing is queued then.
  absl::Status Queue(const google::protobuf::MessageLite& message,
                     std::vector<Payload> attachments);

  // Writes what waits. True when nothing waits any more, false when the stream would block.
  // UNAVAILABLE when the peer is gone.
  absl::StatusOr<bool> Flush();

  ByteStream& stream() { return *stream_; }

 private:
  static constexpr size_t kHeaderBytes = 8;

  struct Outgoing {
    std::string bytes;  // header and message
    std::vector<Payload> attachments;
    size_t weight = 0;  // bytes and attachments, for the bound
    size_t written = 0;
  };

  absl::StatusOr<ReadState> ReadHeader();
  absl::StatusOr<ReadState> ReadBody();
  absl::Status FinishFrame(google::protobuf::MessageLite& message,
                           std::vector<Payload>& attachments);

  const std::unique_ptr<ByteStream> stream_;

  // Reading.
  std::array<char, kHeaderBytes> header_{};
  size_t header_have_ = 0;
  std::string body_;
  size_t body_have_ = 0;
  size_t body_size_ = 0;
  std::vector<UniqueFd> descriptors_;

  // Writing.
  std::deque<Outgoing> outgoing_;
  size_t outgoing_weight_ = 0;
};

}  // namespace darkroom
