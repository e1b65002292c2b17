#include "supervisor/media_pool.h"

#include <poll.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/logging.h"
#include "darkroom/v1/media.pb.h"
#include "ipc/frame_connection.h"
#include "ipc/tensor_ref.h"
#include "ipc/unix_stream.h"
#include "supervisor/process.h"

namespace darkroom {
namespace {

absl::Status Rejected(const char* why) {
  return Error(absl::StatusCode::kInvalidArgument, "PICTURE_REJECTED",
               absl::StrCat("the picture could not be decoded: the decoder ", why));
}

absl::Status Unavailable(const char* why) {
  return Error(absl::StatusCode::kUnavailable, "DECODER_UNAVAILABLE",
               absl::StrCat("pictures cannot be decoded now: ", why))
      .RetryAfter(absl::Seconds(1));
}

absl::Status Empty() {
  return Error(absl::StatusCode::kInvalidArgument, "PICTURE_EMPTY",
               "the picture is empty; it must be a PNG, JPEG or WebP file");
}

v1::DecodePictureRequest::Use ToProto(PictureUse use) {
  switch (use) {
    case PictureUse::kCheck:
      return v1::DecodePictureRequest::USE_CHECK;
    case PictureUse::kImage:
      return v1::DecodePictureRequest::USE_IMAGE;
    case PictureUse::kMaskWhite:
      return v1::DecodePictureRequest::USE_MASK_WHITE;
    case PictureUse::kMaskBlack:
      return v1::DecodePictureRequest::USE_MASK_BLACK;
    case PictureUse::kMaskTransparent:
      return v1::DecodePictureRequest::USE_MASK_TRANSPARENT;
  }
  return v1::DecodePictureRequest::USE_UNSPECIFIED;
}

// What the decoder says about a picture, believed only where it fits: it has read a stranger's
// file.
absl::StatusOr<Picture> ReadReply(const v1::DecodePictureReply& reply, PictureUse use,
                                  absl::Span<const Payload> attachments) {
  const absl::Status status = FromProto(reply.status());
  if (!status.ok()) {
    // Its own troubles are no reason to say anything but what the client can use.
    return absl::IsInvalidArgument(status) && !ErrorReason(status).empty() ? status
                                                                           : Rejected("failed");
  }
  const bool sized = reply.width() >= 1 && reply.width() <= kMediaSideMax && reply.height() >= 1 &&
                     reply.height() <= kMediaSideMax;
  const bool typed = reply.media_type() == "image/png" || reply.media_type() == "image/jpeg" ||
                     reply.media_type() == "image/webp";
  if (!sized || !typed) return Rejected("went wrong");
  Picture picture{reply.media_type(), reply.width(), reply.height(), reply.has_alpha(), {}};
  if (use == PictureUse::kCheck) return picture;
  absl::StatusOr<Payload> pixels = ReadTensor(reply.pixels(), attachments);
  const size_t due = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height) *
                     (use == PictureUse::kImage ? 3 : 1);
  if (!pixels.ok() || pixels->size() != due) return Rejected("went wrong");
  picture.pixels = *std::move(pixels);
  return picture;
}

}  // namespace

// One process and the connection to it; the thread that made it owns it.
class MediaPool::Decoder {
 public:
  static absl::StatusOr<std::unique_ptr<Decoder>> Start(const WorkerSpec& spec) {
    auto sockets = UnixSocketPair();
    if (!sockets.ok()) return sockets.status();
    auto child = StartProcess(spec, sockets->second.get());
    if (!child.ok()) return child.status();
    return std::make_unique<Decoder>(*std::move(child), std::move(sockets->first));
  }
  Decoder(ChildProcess child, UniqueFd socket)
      : child_(std::move(child)),
        connection_(std::make_unique<UnixStream>(std::move(socket), kMode)) {}
  ~Decoder() {
    KillProcess(child_.pidfd.get());
    ReapProcess(child_.pidfd.get());
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // Nothing when the process is of no further use: it died, hangs, or `closing` became true.
  std::optional<absl::StatusOr<Picture>> Decode(const Payload& bytes, PictureUse use,
                                                int64_t timeout_ns,
                                                const std::atomic<bool>& closing) {
    const int64_t due_ns = Clock::Real().MonotonicNanos() + timeout_ns;
    v1::DecodePictureRequest request;
    request.set_use(ToProto(use));
    request.mutable_file()->set_dtype(v1::DTYPE_U8);
    request.mutable_file()->add_shape(static_cast<int64_t>(bytes.size()));
    TensorWriter tensors;
    if (!tensors.Put(bytes, *request.mutable_file()).ok() ||
        !connection_.Queue(request, tensors.TakeAttachments()).ok()) {
      return Unavailable("the server has no memory for them");
    }
    v1::DecodePictureReply reply;
    std::vector<Payload> attachments;
    for (bool written = false;;) {
      if (!written) {
        const auto flushed = connection_.Flush();
        if (!flushed.ok()) return std::nullopt;
        written = *flushed;
      }
      const auto state = connection_.Read(reply, attachments);
      if (!state.ok() || *state == FrameConnection::ReadState::kEnd) return std::nullopt;
      if (*state == FrameConnection::ReadState::kMessage) break;
      const int64_t left_ns = due_ns - Clock::Real().MonotonicNanos();
      if (left_ns <= 0 || closing.load()) return std::nullopt;
      Wait(!written, std::min(left_ns, kMediaPollNanos));
    }
    return ReadReply(reply, use, attachments);
  }

  // Between two pictures: whether it waits for the next. It has nothing to say then, so that
  // anything to be read is its end or nonsense.
  bool Idle() {
    pollfd said{connection_.stream().PollFd(), POLLIN, 0};
    return ::poll(&said, 1, 0) == 0;
  }

 private:
  static constexpr UnixStream::Mode kMode = UnixStream::Mode::kNonBlocking;

  void Wait(bool to_write, int64_t wait_ns) {
    pollfd wanted{connection_.stream().PollFd(),
                  static_cast<short>(to_write ? POLLIN | POLLOUT : POLLIN), 0};
    ::poll(&wanted, 1, static_cast<int>(wait_ns / 1'000'000 + 1));
  }

  const ChildProcess child_;
  FrameConnection connection_;
};

MediaPool::MediaPool(Options options) : options_(std::move(options)), queue_(kMediaQueueMax) {
  for (int i = 0; i < options_.processes; ++i) threads_.emplace_back([this] { Run(); });
}

MediaPool::~MediaPool() {
  closing_.store(true);
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
}

void MediaPool::Decode(Payload bytes, PictureUse use, Done done) {
  auto shared = std::make_shared<Done>(std::move(done));
  Task task{std::move(bytes), use,
            [shared](absl::StatusOr<Picture> result) { std::move (*shared)(std::move(result)); }};
  if (queue_.TryPush(std::move(task))) return;
  std::move (*shared)(absl::Status(Error(absl::StatusCode::kResourceExhausted, "DECODER_BUSY",
                                         "too many pictures wait to be decoded; try again soon")
                                       .RetryAfter(absl::Milliseconds(500))));
}

void MediaPool::Run() {
  std::unique_ptr<Decoder> decoder;
  std::vector<Task> batch;
  while (queue_.PopAll(batch, 1, -1)) {
    for (Task& task : batch) {
      if (closing_.load()) {
        std::move(task.done)(Unavailable("the server is shutting down"));
        continue;
      }
      if (task.bytes.empty()) {
        // There is nothing to send.
        std::move(task.done)(Empty());
        continue;
      }
      // One that died while it had nothing to do costs no picture.
      if (decoder != nullptr && !decoder->Idle()) decoder.reset();
      if (decoder == nullptr) {
        auto started = Decoder::Start(options_.decoder);
        if (!started.ok()) {
          spdlog::error("the decoder of pictures does not start: {}", started.status().ToString());
          std::move(task.done)(Unavailable("their decoder does not start"));
          continue;
        }
        ++started_;
        decoder = *std::move(started);
      }
      auto result = decoder->Decode(task.bytes, task.use, options_.timeout_ns, closing_);
      if (!result.has_value()) {
        decoder.reset();
        spdlog::warn("a decoder of pictures crashed or hung and is replaced");
      }
      std::move(task.done)(result.has_value() ? *std::move(result)
                                              : Rejected("crashed or took too long"));
    }
    batch.clear();
  }
}

}  // namespace darkroom
