#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "base/bounded_queue.h"
#include "base/mutex.h"
#include "darkroom/engine.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::engine {

// Live generations' events on their way from the control thread to any number of watchers. Watchers
// pull, so a slow one costs a position in a list, not a queue: of progress it sees the latest only.
// Thread-safe. Watchers are woken on the notifier, never on the publishing thread.
class EventHub {
 public:
  // Runs closures in order on one thread that may be kept waiting by nobody.
  using Notify = std::function<void(absl::AnyInvocable<void()>)>;
  // Attached streams of a generation fell to none, or rose from none.
  using AttachmentChanged = std::function<void(const std::string& name, bool attached)>;

  EventHub(Notify notify, AttachmentChanged attachment_changed);

  // REQUIRES: called by one thread, the control thread.
  void Open(const std::string& name, const std::vector<v1::GenerateEvent>& past);
  void Publish(const std::string& name, std::shared_ptr<const v1::GenerateEvent> event,
               bool transient);
  void Close(const std::string& name);

  // Nothing when the generation is not live: read its events from the store. `on_ready` is shared
  // because it may be under way on the notifier when the stream is destroyed.
  std::unique_ptr<EventStream> Watch(const std::string& name, int64_t after_sequence, bool attached,
                                     absl::AnyInvocable<void()> on_ready);

  // Denoising steps done as last published, over all outputs; nothing when it is not live.
  std::optional<int32_t> StepsDone(const std::string& name);

  // For generations that ended: a stream over what the store kept.
  static std::unique_ptr<EventStream> Replay(std::vector<v1::GenerateEvent> events);

 private:
  struct Watcher;
  struct Topic;
  class LiveStream;

  void Wake(Topic& topic);

  const Notify notify_;
  const AttachmentChanged attachment_changed_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<Topic>> topics_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace darkroom::engine
