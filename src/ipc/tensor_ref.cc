#include "ipc/tensor_ref.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "ipc/limits.h"

namespace darkroom {

v1::DType ToProto(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return v1::DTYPE_F32;
    case DType::kBf16:
      return v1::DTYPE_BF16;
    case DType::kF16:
      return v1::DTYPE_F16;
    case DType::kU8:
      return v1::DTYPE_U8;
    case DType::kI32:
      return v1::DTYPE_I32;
    case DType::kI64:
      return v1::DTYPE_I64;
  }
  return v1::DTYPE_UNSPECIFIED;
}

std::optional<DType> DTypeFromProto(v1::DType dtype) {
  switch (dtype) {
    case v1::DTYPE_F32:
      return DType::kF32;
    case v1::DTYPE_BF16:
      return DType::kBf16;
    case v1::DTYPE_F16:
      return DType::kF16;
    case v1::DTYPE_U8:
      return DType::kU8;
    case v1::DTYPE_I32:
      return DType::kI32;
    case v1::DTYPE_I64:
      return DType::kI64;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<size_t> TensorBytes(const v1::TensorRef& ref) {
  const std::optional<DType> dtype = DTypeFromProto(ref.dtype());
  if (!dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat("a tensor's element type ", static_cast<int>(ref.dtype()), " is unknown"));
  }
  if (ref.shape_size() > Tensor::kRankMax) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor has ", ref.shape_size(),
                                                   " dimensions; at most ", Tensor::kRankMax,
                                                   " are allowed"));
  }
  size_t bytes = ByteSize(*dtype);
  for (const int64_t dim : ref.shape()) {
    // Compared by division, so that no product can overflow.
    if (dim < 1 || static_cast<uint64_t>(dim) > kAttachmentBytesMax / bytes) {
      return absl::InvalidArgumentError(absl::StrCat("a tensor's dimension ", dim,
                                                     " is below 1 or makes it exceed ",
                                                     kAttachmentBytesMax, " bytes"));
    }
    bytes *= static_cast<size_t>(dim);
  }
  return bytes;
}

absl::Status TensorWriter::Put(const Payload& bytes, v1::TensorRef& ref) {
  ref.clear_location();
  const auto expected = TensorBytes(ref);
  if (!expected.ok()) return expected.status();
  if (*expected != bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a tensor's shape means ", *expected, " bytes, but it has ", bytes.size()));
  }
  ref.set_size_bytes(static_cast<int64_t>(bytes.size()));
  if (bytes.size() <= kInlineTensorBytesMax &&
      inline_bytes_ + bytes.size() <= kInlineBytesPerFrameMax) {
    inline_bytes_ += bytes.size();
    ref.set_inline_data(bytes.bytes().data(), bytes.size());
    return absl::OkStatus();
  }
  if (attachments_.size() >= kFrameAttachmentsMax) {
    return absl::ResourceExhaustedError(absl::StrCat("a message takes ", kFrameAttachmentsMax,
                                                     " attached tensors and has no room for more"));
  }
  Payload attachment = bytes;
  if (bytes.fd() < 0) {
    auto memfd = Payload::CreateMemfd(bytes.size(), [&](absl::Span<char> out) {
      std::memcpy(out.data(), bytes.bytes().data(), out.size());
    });
    if (!memfd.ok()) return memfd.status();
    attachment = *std::move(memfd);
  }
  ref.set_memfd_index(static_cast<int32_t>(attachments_.size()));
  attachments_.push_back(std::move(attachment));
  return absl::OkStatus();
}

absl::StatusOr<Payload> ReadTensor(const v1::TensorRef& ref,
                                   absl::Span<const Payload> attachments) {
  const auto expected = TensorBytes(ref);
  if (!expected.ok()) return expected.status();
  if (ref.size_bytes() < 0 || static_cast<uint64_t>(ref.size_bytes()) != *expected) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor announces ", ref.size_bytes(),
                                                   " bytes where its shape means ", *expected));
  }
  switch (ref.location_case()) {
    case v1::TensorRef::kInlineData: {
      const std::string& bytes = ref.inline_data();
      if (bytes.size() != *expected || bytes.size() > kInlineTensorBytesMax) {
        return absl::InvalidArgumentError(
            absl::StrCat("a tensor of ", *expected, " bytes came with ", bytes.size(),
                         " inline; at most ", kInlineTensorBytesMax, " may be"));
      }
      return Payload::Copy(bytes);
    }
    case v1::TensorRef::kMemfdIndex: {
      const int32_t index = ref.memfd_index();
      if (index < 0 || static_cast<size_t>(index) >= attachments.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("a tensor is in attachment ", index, " of ", attachments.size()));
      }
      if (attachments[index].size() != *expected) {
        return absl::InvalidArgumentError(absl::StrCat("a tensor of ", *expected,
                                                       " bytes came in an attachment of ",
                                                       attachments[index].size()));
      }
      return attachments[index];
    }
    case v1::TensorRef::kStreamId:
    case v1::TensorRef::kResident:
      return absl::UnimplementedError("streamed and resident tensors cannot be read here");
    case v1::TensorRef::LOCATION_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a tensor came without bytes");
}

}  // namespace darkroom
