#include "gateway/event_feed.h"

#include <algorithm>
#include <utility>

#include "gateway/limits.h"
#include "gateway/reply_errors.h"

namespace darkroom {

namespace limits = gateway_limits;

std::shared_ptr<EventFeed> EventFeed::Create(Engine& engine, EventSink& sink) {
  return std::shared_ptr<EventFeed>(new EventFeed(engine, sink));
}

void EventFeed::Post(Strand::Step step) {
  // The step may end the call and with it every other reference.
  const auto self = shared_from_this();
  strand_.Post(std::move(step));
}

template <typename T>
Callback<T> EventFeed::OnStrand(void (EventFeed::*member)(T)) {
  return [self = shared_from_this(), member](T value) {
    self->strand_.Post([feed = self.get(), member, value = std::move(value)]() mutable {
      (feed->*member)(std::move(value));
    });
  };
}

void EventFeed::StartSubmit(Engine::Submit submit) {
  Post([this, submit = std::move(submit)]() mutable {
    abandon_ = submit.abandon;
    engine_.SubmitGeneration(std::move(submit), OnStrand(&EventFeed::Submitted));
  });
}

void EventFeed::StartAttached(absl::StatusOr<v1::Generation> generation) {
  Post([this, generation = std::move(generation)]() mutable { Submitted(std::move(generation)); });
}

void EventFeed::StartWatch(std::string name, int64_t after_sequence) {
  Post([this, name = std::move(name), after_sequence]() mutable {
    name_ = std::move(name);
    after_sequence_ = after_sequence;
    Watch(/*attached=*/false);
  });
}

void EventFeed::StartSingle(v1::GenerateEvent event) {
  Post([this, event = std::move(event)] { Send(event); });
}

void EventFeed::StartError(absl::Status status) {
  Post([this, status = std::move(status)]() mutable { End(std::move(status)); });
}

void EventFeed::OnSent(bool sent) {
  Post([this, sent] { Sent(sent); });
}

void EventFeed::OnCancelled() {
  Post([this] { End(CallCancelled()); });
}

void EventFeed::Submitted(absl::StatusOr<v1::Generation> generation) {
  if (!generation.ok()) return End(generation.status());
  name_ = generation->name();
  // Also when the client has gone meanwhile: attaching and leaving is what makes the engine apply
  // its rule for abandoned generations.
  Watch(/*attached=*/true);
}

void EventFeed::Watch(bool attached) {
  // All kept events, which are few: the start of an output may lie at or before `after_sequence_`
  // while its last chunks lie behind it.
  engine_.Watch(
      name_, /*after_sequence=*/0, attached,
      // Weak: the engine keeps this as long as the stream, and the stream is ours.
      [weak = weak_from_this()] {
        if (const auto self = weak.lock()) {
          self->strand_.Post([feed = self.get()] { feed->Advance(); });
        }
      },
      OnStrand(&EventFeed::Opened));
}

void EventFeed::Opened(OpenedStream stream) {
  if (!stream.ok()) {
    // Nobody attached, so nobody would ever abandon it.
    if (abandon_ == Engine::Abandon::kCancelNow) {
      engine_.CancelGeneration(name_, [](absl::StatusOr<v1::Generation>) {});
    }
    return End(stream.status());
  }
  if (ended_) return;
  stream_ = *std::move(stream);
  Advance();
}

void EventFeed::Advance() {
  while (stream_ != nullptr && output_ == nullptr && !sending_) {
    std::shared_ptr<const v1::GenerateEvent> event;
    switch (stream_->TryNext(event)) {
      case EventStream::Next::kPending:
        return;
      case EventStream::Next::kEnded:
        return End(absl::OkStatus());
      case EventStream::Next::kEvent:
        break;
    }
    if (event->has_output_chunk()) {
      output_ = std::move(event);
      next_chunk_ = std::max<int64_t>(0, after_sequence_ + 1 - output_->sequence());
      ReadOutput();
    } else if (event->sequence() > after_sequence_) {
      Send(*event);
    }
  }
}

void EventFeed::ReadOutput() {
  engine_.ReadOutput(name_, output_->output_chunk().output_index(),
                     OnStrand(&EventFeed::OutputRead));
}

void EventFeed::OutputRead(absl::StatusOr<Payload> output) {
  if (ended_) return;
  if (!output.ok()) return End(output.status());
  // The whole output is read again for each chunk instead of being held meanwhile, so that clients
  // that stopped reading hold no outputs. Nearly all outputs are one or two chunks.
  const int64_t size = static_cast<int64_t>(output->size());
  const int64_t chunks = std::max<int64_t>(
      1, (size + limits::kOutputChunkBytesMax - 1) / limits::kOutputChunkBytesMax);
  if (next_chunk_ >= chunks) {
    output_.reset();
    return Advance();
  }
  const int64_t offset = next_chunk_ * limits::kOutputChunkBytesMax;
  v1::GenerateEvent event = *output_;
  event.set_sequence(output_->sequence() + next_chunk_);
  v1::GenerateEvent::OutputChunk& chunk = *event.mutable_output_chunk();
  chunk.set_offset(offset);
  chunk.set_last(next_chunk_ == chunks - 1);
  const std::string_view bytes = output->bytes().substr(offset, limits::kOutputChunkBytesMax);
  chunk.set_data(bytes.data(), bytes.size());
  ++next_chunk_;
  if (chunk.last()) output_.reset();
  Send(event);
}

void EventFeed::Send(const v1::GenerateEvent& event) {
  if (ended_) return;
  sending_ = true;
  sink_.Send(event);
}

void EventFeed::Sent(bool sent) {
  sending_ = false;
  if (ended_) return sink_.End(end_status_);
  if (!sent) return End(CallCancelled());
  if (output_ != nullptr) return ReadOutput();
  if (stream_ == nullptr) return End(absl::OkStatus());
  Advance();
}

void EventFeed::End(absl::Status status) {
  if (ended_) return;
  ended_ = true;
  stream_.reset();
  output_.reset();
  end_status_ = ForClient(status);
  if (!sending_) sink_.End(end_status_);
}

}  // namespace darkroom
