#include "model/workspace.h"

#include <algorithm>

namespace darkroom {

absl::StatusOr<char*> Workspace::Reserve(size_t bytes) {
  if (buffer_ == nullptr || buffer_->size() < bytes) {
    // The old memory is given back first, so that both never exist at once.
    buffer_.reset();
    ++growths_;
    absl::StatusOr<std::unique_ptr<DeviceBuffer>> buffer =
        ops_.Allocate(std::max<size_t>(bytes, 1));
    if (!buffer.ok()) return buffer.status();
    buffer_ = *std::move(buffer);
  }
  return static_cast<char*>(buffer_->data());
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> Upload(Ops& ops, const std::vector<float>& values,
                                                     Stream& stream) {
  const size_t bytes = values.size() * sizeof(float);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> buffer = ops.Allocate(bytes);
  if (!buffer.ok()) return buffer.status();
  absl::Status status = ops.CopyToDevice((*buffer)->data(), values.data(), bytes, stream);
  // `values` may go away after this.
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;
  return buffer;
}

}  // namespace darkroom
