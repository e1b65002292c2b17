#include "media/decode_server.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ipc/frame_connection.h"
#include "media/confine.h"
#include "media/limits.h"
#include "media/picture.h"

namespace darkroom {
namespace {

absl::StatusOr<PictureUse> UseFromProto(v1::DecodePictureRequest::Use use) {
  switch (use) {
    case v1::DecodePictureRequest::USE_CHECK:
      return PictureUse::kCheck;
    case v1::DecodePictureRequest::USE_IMAGE:
      return PictureUse::kImage;
    case v1::DecodePictureRequest::USE_MASK_WHITE:
      return PictureUse::kMaskWhite;
    case v1::DecodePictureRequest::USE_MASK_BLACK:
      return PictureUse::kMaskBlack;
    case v1::DecodePictureRequest::USE_MASK_TRANSPARENT:
      return PictureUse::kMaskTransparent;
    default:
      return absl::InvalidArgumentError("an unknown use of a picture");
  }
}

absl::StatusOr<Payload> MakePixels(std::string_view pixels) {
  return Payload::CreateMemfd(pixels.size(), [pixels](absl::Span<char> memory) {
    std::copy(pixels.begin(), pixels.end(), memory.begin());
  });
}

absl::Status Decode(const v1::DecodePictureRequest& request, absl::Span<const Payload> attachments,
                    TensorWriter& tensors, v1::DecodePictureReply& reply) {
  const absl::StatusOr<PictureUse> use = UseFromProto(request.use());
  if (!use.ok()) return use.status();
  const absl::StatusOr<Payload> file = ReadTensor(request.file(), attachments);
  if (!file.ok()) return file.status();
  const std::string_view bytes = file->bytes();
  const absl::StatusOr<RgbaPicture> picture =
      DecodePicture({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!picture.ok()) return picture.status();
  reply.set_media_type(picture->media_type);
  reply.set_width(picture->width);
  reply.set_height(picture->height);
  reply.set_has_alpha(picture->has_alpha);
  if (*use == PictureUse::kCheck) return absl::OkStatus();
  const absl::StatusOr<std::string> pixels = PixelsFor(*picture, *use);
  if (!pixels.ok()) return pixels.status();
  const absl::StatusOr<Payload> shared = MakePixels(*pixels);
  if (!shared.ok()) return shared.status();
  v1::TensorRef& ref = *reply.mutable_pixels();
  ref.set_dtype(v1::DTYPE_U8);
  ref.add_shape(picture->height);
  ref.add_shape(picture->width);
  if (*use == PictureUse::kImage) ref.add_shape(3);
  return tensors.Put(*shared, ref);
}

}  // namespace

v1::DecodePictureReply AnswerDecode(const v1::DecodePictureRequest& request,
                                    absl::Span<const Payload> attachments, TensorWriter& tensors) {
  v1::DecodePictureReply reply;
  absl::Status status;
  try {
    status = Decode(request, attachments, tensors, reply);
  } catch (const std::bad_alloc&) {
    status = Error(absl::StatusCode::kInvalidArgument, "PICTURE_REJECTED",
                   "decoding the picture takes more memory than is allowed");
  }
  if (!status.ok()) reply.Clear();
  *reply.mutable_status() = ToProto(status);
  return reply;
}

absl::Status ServeDecodes(std::unique_ptr<ByteStream> stream) {
  FrameConnection connection(std::move(stream));
  for (;;) {
    v1::DecodePictureRequest request;
    std::vector<Payload> attachments;
    const auto state = connection.Read(request, attachments);
    if (!state.ok()) return state.status();
    if (*state == FrameConnection::ReadState::kEnd) return absl::OkStatus();
    if (absl::Status status = AllowCpuSeconds(media_limits::kDecodeCpuSecondsMax); !status.ok()) {
      return status;
    }
    TensorWriter tensors;
    const v1::DecodePictureReply reply = AnswerDecode(request, attachments, tensors);
    absl::Status sent = connection.Queue(reply, tensors.TakeAttachments());
    if (sent.ok()) sent = connection.Flush().status();
    if (!sent.ok()) return sent;
  }
}

}  // namespace darkroom
