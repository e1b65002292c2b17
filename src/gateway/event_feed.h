#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/engine.h"
#include "darkroom/v1/generation.pb.h"
#include "gateway/strand.h"

namespace darkroom {

// Where a generation's events go: one client's stream over some transport.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // Starts sending; the transport answers with one EventFeed::OnSent. `event` is not kept.
  virtual void Send(const v1::GenerateEvent& event) = 0;
  // The stream's last call, never while an event is being sent; the sink may be gone afterwards.
  virtual void End(const absl::Status& status) = 0;
};

// Brings the events of one generation to one sink, no faster than the client takes them: a client
// that does not read costs one event of at most 1 MiB. Outputs are read from the engine when their
// turn comes and cut into chunks.
//
// Thread-safe. Shared with every callback the engine still owes; touches its sink for the last time
// in End, which comes exactly once after one of the Start functions.
class EventFeed : public std::enable_shared_from_this<EventFeed> {
 public:
  // `engine` must outlive the feed, `sink` its End.
  static std::shared_ptr<EventFeed> Create(Engine& engine, EventSink& sink);

  // Exactly one of these, once.
  void StartSubmit(Engine::Submit submit);
  // The generation exists already: as StartSubmit once that is done.
  void StartAttached(absl::StatusOr<v1::Generation> generation);
  void StartWatch(std::string name, int64_t after_sequence);
  // One event that nobody stores, then the end.
  void StartSingle(v1::GenerateEvent event);
  void StartError(absl::Status status);

  // From the transport. `sent` is false when the client can take no more.
  void OnSent(bool sent);
  // The client is gone, or its deadline passed.
  void OnCancelled();

 private:
  using OpenedStream = absl::StatusOr<std::unique_ptr<EventStream>>;

  EventFeed(Engine& engine, EventSink& sink) : engine_(engine), sink_(sink) {}

  // Runs `step` on the strand, which outlives it.
  void Post(Strand::Step step);
  // The callback for an engine call: runs `member` on the strand.
  template <typename T>
  Callback<T> OnStrand(void (EventFeed::*member)(T));

  // Everything below runs on the strand.
  void Submitted(absl::StatusOr<v1::Generation> generation);
  void Watch(bool attached);
  void Opened(OpenedStream stream);
  // Sends the next event, unless something is under way that will call this again.
  void Advance();
  void ReadOutput();
  void OutputRead(absl::StatusOr<Payload> output);
  void Sent(bool sent);
  void Send(const v1::GenerateEvent& event);
  void End(absl::Status status);

  Engine& engine_;
  EventSink& sink_;
  Strand strand_;

  std::string name_;
  int64_t after_sequence_ = 0;
  Engine::Abandon abandon_ = Engine::Abandon::kKeep;
  std::unique_ptr<EventStream> stream_;
  // The output that is being sent, and its next chunk; null between outputs.
  std::shared_ptr<const v1::GenerateEvent> output_;
  int64_t next_chunk_ = 0;
  bool sending_ = false;
  bool ended_ = false;
  absl::Status end_status_;
};

}  // namespace darkroom
