#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/payload.h"
#include "darkroom/tensor.h"
#include "darkroom/v1/worker.pb.h"

namespace darkroom {

v1::DType ToProto(DType dtype);
// Nothing for DTYPE_UNSPECIFIED and numbers this version does not know.
std::optional<DType> DTypeFromProto(v1::DType dtype);

// Bytes of a row-major tensor without gaps. INVALID_ARGUMENT for an unknown type, more than
// Tensor::kRankMax dimensions, one below 1, or more than kAttachmentBytesMax bytes in all; never
// overflows.
absl::StatusOr<size_t> TensorBytes(const v1::TensorRef& ref);

// Puts the tensors of one message where they travel best: small ones inline, large ones as memfds
// that go with the message's frame.
class TensorWriter {
 public:
  // Sets `ref`'s size and location. REQUIRES: dtype and shape are set. INVALID_ARGUMENT when they
  // do not fit `bytes`; RESOURCE_EXHAUSTED when the frame has room for no more, or the system for
  // no memfd. `ref` has no location then.
  absl::Status Put(const Payload& bytes, v1::TensorRef& ref);

  // To be sent with the message. The writer is spent.
  std::vector<Payload> TakeAttachments() { return std::move(attachments_); }

 private:
  std::vector<Payload> attachments_;
  size_t inline_bytes_ = 0;
};

// The bytes of a tensor that came with `attachments`. INVALID_ARGUMENT when type, shape, announced
// size and actual bytes do not agree, or the location is missing; UNIMPLEMENTED for streamed and
// resident tensors.
absl::StatusOr<Payload> ReadTensor(const v1::TensorRef& ref, absl::Span<const Payload> attachments);

}  // namespace darkroom
