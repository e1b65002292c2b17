#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace darkroom {

// Serialized envelope of one frame, header excluded. Anything heavier travels as an attachment.
inline constexpr size_t kFrameBytesMax = size_t{16} << 20;

// Descriptors that come with one frame: as many as Linux passes in one message (SCM_MAX_FD).
inline constexpr size_t kFrameAttachmentsMax = 253;

// One memfd.
inline constexpr size_t kAttachmentBytesMax = kPayloadBytesMax;

// A tensor up to this size travels inside its message: a memfd costs more system calls than a copy
// of this length.
inline constexpr size_t kInlineTensorBytesMax = size_t{64} << 10;

// Sum of the inline tensors of one message; beyond it even small ones become memfds, so that a plan
// of many jobs cannot outgrow its frame.
inline constexpr size_t kInlineBytesPerFrameMax = size_t{8} << 20;

// Frames, and bytes in them and in their attachments, that wait for a peer that does not read.
inline constexpr size_t kSendQueueFramesMax = 1024;
inline constexpr size_t kSendQueueBytesMax = size_t{256} << 20;

// The reader's buffer grows by at most the larger of this and what has already come, so that a
// length which lies costs no memory.
inline constexpr size_t kReadChunkBytes = size_t{64} << 10;

// A reader's buffer above this is given back after its frame.
inline constexpr size_t kReadBufferKeptBytesMax = size_t{1} << 20;

}  // namespace darkroom
