#pragma once

#include <memory>

#include "absl/status/status.h"
#include "darkroom/v1/media.pb.h"
#include "ipc/byte_stream.h"
#include "ipc/tensor_ref.h"

namespace darkroom {

// Answers requests one after the other until the daemon closes the connection (OK) or says
// something that is no request. `stream` blocks.
absl::Status ServeDecodes(std::unique_ptr<ByteStream> stream);

// One request; what is wrong with the picture is the reply's status. Pixels go to `tensors`.
v1::DecodePictureReply AnswerDecode(const v1::DecodePictureRequest& request,
                                    absl::Span<const Payload> attachments, TensorWriter& tensors);

}  // namespace darkroom
