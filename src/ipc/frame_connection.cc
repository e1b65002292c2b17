#include "ipc/frame_connection.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ipc/limits.h"

namespace darkroom {
namespace {

uint32_t GetLittleEndian(const char* bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

void PutLittleEndian(uint32_t value, char* bytes) {
  for (int i = 0; i < 4; ++i, value >>= 8) bytes[i] = static_cast<char>(value & 0xff);
}

absl::StatusOr<Payload> Adopt(UniqueFd descriptor) {
  struct stat info {};
  if (::fstat(descriptor.get(), &info) != 0 || info.st_size < 0 ||
      static_cast<size_t>(info.st_size) > kAttachmentBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("an attachment may have at most ", kAttachmentBytesMax, " bytes"));
  }
  return Payload::AdoptMemfd(descriptor.Release(), static_cast<size_t>(info.st_size));
}

}  // namespace

FrameConnection::FrameConnection(std::unique_ptr<ByteStream> stream) : stream_(std::move(stream)) {}

absl::StatusOr<FrameConnection::ReadState> FrameConnection::Read(
    google::protobuf::MessageLite& message, std::vector<Payload>& attachments) {
  if (header_have_ < kHeaderBytes) {
    auto state = ReadHeader();
    if (!state.ok() || *state != ReadState::kMessage) return state;
  }
  auto state = ReadBody();
  if (!state.ok() || *state != ReadState::kMessage) return state;
  if (const absl::Status status = FinishFrame(message, attachments); !status.ok()) return status;
  return ReadState::kMessage;
}

absl::StatusOr<FrameConnection::ReadState> FrameConnection::ReadHeader() {
  while (header_have_ < kHeaderBytes) {
    const auto progress = stream_->Read(
        absl::MakeSpan(header_.data() + header_have_, kHeaderBytes - header_have_), descriptors_);
    if (!progress.ok()) return progress.status();
    if (progress->state == ByteStream::State::kWouldBlock) return ReadState::kWouldBlock;
    if (progress->state == ByteStream::State::kEnd) {
      if (header_have_ == 0) return ReadState::kEnd;
      return absl::DataLossError("the peer went away inside a frame");
    }
    header_have_ += progress->bytes;
    if (descriptors_.size() > kFrameAttachmentsMax) {
      return absl::InvalidArgumentError("a frame came with too many attachments");
    }
  }
  const uint32_t length = GetLittleEndian(header_.data());
  const uint32_t count = GetLittleEndian(header_.data() + 4);
  if (length > kFrameBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a frame of ", length, " bytes; at most ", kFrameBytesMax, " are allowed"));
  }
  if (count != descriptors_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a frame announced ", count, " attachments and came with ", descriptors_.size()));
  }
  body_size_ = length;
  body_have_ = 0;
  return ReadState::kMessage;
}

absl::StatusOr<FrameConnection::ReadState> FrameConnection::ReadBody() {
  while (body_have_ < body_size_) {
    if (body_.size() == body_have_) {
      body_.resize(std::min(body_size_, body_have_ + std::max(body_have_, kReadChunkBytes)));
    }
    const size_t room = std::min(body_.size(), body_size_) - body_have_;
    std::vector<UniqueFd> strays;
    const auto progress = stream_->Read(absl::MakeSpan(body_.data() + body_have_, room), strays);
    if (!progress.ok()) return progress.status();
    if (progress->state == ByteStream::State::kWouldBlock) return ReadState::kWouldBlock;
    if (progress->state == ByteStream::State::kEnd) {
      return absl::DataLossError("the peer went away inside a frame");
    }
    if (!strays.empty()) {
      return absl::InvalidArgumentError("an attachment came in the middle of a frame");
    }
    body_have_ += progress->bytes;
  }
  return ReadState::kMessage;
}

absl::Status FrameConnection::FinishFrame(google::protobuf::MessageLite& message,
                                          std::vector<Payload>& attachments) {
  attachments.clear();
  std::vector<UniqueFd> descriptors = std::move(descriptors_);
  descriptors_.clear();
  header_have_ = 0;
  for (UniqueFd& descriptor : descriptors) {
    auto payload = Adopt(std::move(descriptor));
    if (!payload.ok()) return payload.status();
    attachments.push_back(*std::move(payload));
  }
  const bool parsed = message.ParseFromArray(body_.data(), static_cast<int>(body_size_));
  if (body_.capacity() > kReadBufferKeptBytesMax) std::string().swap(body_);
  if (!parsed) return absl::InvalidArgumentError("a frame does not hold the expected message");
  return absl::OkStatus();
}

absl::Status FrameConnection::Queue(const google::protobuf::MessageLite& message,
                                    std::vector<Payload> attachments) {
  const size_t length = message.ByteSizeLong();
  if (length > kFrameBytesMax || attachments.size() > kFrameAttachmentsMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a message of ", length, " bytes and ", attachments.size(), " attachments; a frame takes ",
        kFrameBytesMax, " and ", kFrameAttachmentsMax));
  }
  Outgoing frame;
  frame.weight = kHeaderBytes + length;
  for (const Payload& attachment : attachments) {
    if (attachment.fd() < 0 || !stream_->CarriesDescriptors()) {
      return absl::InvalidArgumentError("an attachment must be a memfd on a local connection");
    }
    if (attachment.size() > kAttachmentBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("an attachment may have at most ", kAttachmentBytesMax, " bytes"));
    }
    frame.weight += attachment.size();
  }
  // An empty queue takes any frame: one attachment alone may outweigh the bound.
  if (!outgoing_.empty() && (outgoing_.size() >= kSendQueueFramesMax ||
                             outgoing_weight_ + frame.weight > kSendQueueBytesMax)) {
    return absl::ResourceExhaustedError("the peer does not read: the queue to it is full");
  }
  frame.bytes.resize(kHeaderBytes + length);
  PutLittleEndian(static_cast<uint32_t>(length), frame.bytes.data());
  PutLittleEndian(static_cast<uint32_t>(attachments.size()), frame.bytes.data() + 4);
  if (!message.SerializeToArray(frame.bytes.data() + kHeaderBytes, static_cast<int>(length))) {
    return absl::InvalidArgumentError("a message cannot be serialized");
  }
  frame.attachments = std::move(attachments);
  outgoing_weight_ += frame.weight;
  outgoing_.push_back(std::move(frame));
  return absl::OkStatus();
}

absl::StatusOr<bool> FrameConnection::Flush() {
  while (!outgoing_.empty()) {
    Outgoing& frame = outgoing_.front();
    std::vector<int> descriptors;
    if (frame.written == 0) {
      for (const Payload& attachment : frame.attachments) descriptors.push_back(attachment.fd());
    }
    const auto progress =
        stream_->Write(std::string_view(frame.bytes).substr(frame.written), descriptors);
    if (!progress.ok()) return progress.status();
    if (progress->state == ByteStream::State::kWouldBlock) return false;
    if (progress->state == ByteStream::State::kEnd) {
      return absl::UnavailableError("the peer is gone");
    }
    frame.written += progress->bytes;
    if (frame.written == frame.bytes.size()) {
      outgoing_weight_ -= frame.weight;
      outgoing_.pop_front();
    }
  }
  return true;
}

}  // namespace darkroom
