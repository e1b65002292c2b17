#include "engine/event_hub.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "engine/limits.h"

namespace darkroom::engine {

// `on_ready` runs on the notifier, under the lock, so that it never runs once its stream is gone.
struct EventHub::Watcher {
  Mutex mutex;
  bool alive ABSL_GUARDED_BY(mutex) = true;
  absl::AnyInvocable<void()> on_ready ABSL_GUARDED_BY(mutex);
  // The thread inside on_ready, which may itself destroy the stream.
  std::atomic<std::thread::id> runner;

  void Run() {
    MutexLock lock(mutex);
    if (!alive) return;
    runner = std::this_thread::get_id();
    on_ready();
    runner = std::thread::id();
  }

  void Retire() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (runner.load() == std::this_thread::get_id()) {
      alive = false;  // our own Run holds the lock
      return;
    }
    MutexLock lock(mutex);
    alive = false;
  }
};

struct EventHub::Topic {
  std::string name;
  Mutex mutex;
  bool closed ABSL_GUARDED_BY(mutex) = false;
  int attached ABSL_GUARDED_BY(mutex) = 0;
  // Ascending by sequence number.
  std::deque<std::shared_ptr<const v1::GenerateEvent>> kept ABSL_GUARDED_BY(mutex);
  // The latest progress and the latest preview of each output.
  std::map<std::pair<int32_t, v1::GenerateEvent::EventCase>,
           std::shared_ptr<const v1::GenerateEvent>>
      latest ABSL_GUARDED_BY(mutex);
  // Those who saw everything and wait.
  std::vector<std::shared_ptr<Watcher>> waiting ABSL_GUARDED_BY(mutex);

  // The first event above `sequence`; null when there is none.
  std::shared_ptr<const v1::GenerateEvent> After(int64_t sequence)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::shared_ptr<const v1::GenerateEvent> next;
    const auto it =
        std::upper_bound(kept.begin(), kept.end(), sequence,
                         [](int64_t s, const auto& event) { return s < event->sequence(); });
    if (it != kept.end()) next = *it;
    for (const auto& [output, event] : latest) {
      if (event->sequence() > sequence && (!next || event->sequence() < next->sequence())) {
        next = event;
      }
    }
    return next;
  }
};

class EventHub::LiveStream final : public EventStream {
 public:
  LiveStream(EventHub& hub, std::shared_ptr<Topic> topic, std::shared_ptr<Watcher> watcher,
             int64_t after_sequence, bool attached)
      : hub_(hub),
        topic_(std::move(topic)),
        watcher_(std::move(watcher)),
        sequence_(after_sequence),
        attached_(attached) {}

  LiveStream(const LiveStream&) = delete;
  LiveStream& operator=(const LiveStream&) = delete;

  ~LiveStream() override {
    bool last = false;
    {
      MutexLock lock(topic_->mutex);
      last = attached_ && --topic_->attached == 0 && !topic_->closed;
      std::erase(topic_->waiting, watcher_);
    }
    // Waits for a call under way: after this no on_ready runs.
    watcher_->Retire();
    if (last) hub_.attachment_changed_(topic_->name, false);
  }

  Next TryNext(std::shared_ptr<const v1::GenerateEvent>& event) override {
    MutexLock lock(topic_->mutex);
    event = topic_->After(sequence_);
    if (event != nullptr) {
      sequence_ = event->sequence();
      return Next::kEvent;
    }
    if (topic_->closed) return Next::kEnded;
    if (std::find(topic_->waiting.begin(), topic_->waiting.end(), watcher_) ==
        topic_->waiting.end()) {
      topic_->waiting.push_back(watcher_);
    }
    return Next::kPending;
  }

 private:
  EventHub& hub_;
  const std::shared_ptr<Topic> topic_;
  const std::shared_ptr<Watcher> watcher_;
  int64_t sequence_;
  const bool attached_;
};

namespace {

class ReplayStream final : public EventStream {
 public:
  explicit ReplayStream(std::vector<v1::GenerateEvent> events) : events_(std::move(events)) {}

  Next TryNext(std::shared_ptr<const v1::GenerateEvent>& event) override {
    if (next_ == events_.size()) return Next::kEnded;
    event = std::make_shared<v1::GenerateEvent>(std::move(events_[next_++]));
    return Next::kEvent;
  }

 private:
  std::vector<v1::GenerateEvent> events_;
  size_t next_ = 0;
};

}  // namespace

EventHub::EventHub(Notify notify, AttachmentChanged attachment_changed)
    : notify_(std::move(notify)), attachment_changed_(std::move(attachment_changed)) {}

void EventHub::Open(const std::string& name, const std::vector<v1::GenerateEvent>& past) {
  auto topic = std::make_shared<Topic>();
  topic->name = name;
  {
    MutexLock lock(topic->mutex);
    const size_t first = past.size() > kTopicEventsMax ? past.size() - kTopicEventsMax : 0;
    for (size_t i = first; i < past.size(); ++i) {
      topic->kept.push_back(std::make_shared<v1::GenerateEvent>(past[i]));
    }
  }
  MutexLock lock(mutex_);
  topics_[name] = std::move(topic);
}

void EventHub::Publish(const std::string& name, std::shared_ptr<const v1::GenerateEvent> event,
                       bool transient) {
  std::shared_ptr<Topic> topic;
  {
    MutexLock lock(mutex_);
    const auto it = topics_.find(name);
    if (it == topics_.end()) return;
    topic = it->second;
  }
  {
    MutexLock lock(topic->mutex);
    if (transient) {
      const int32_t output =
          event->has_preview() ? event->preview().output_index() : event->progress().output_index();
      topic->latest[{output, event->event_case()}] = std::move(event);
    } else {
      topic->kept.push_back(std::move(event));
      if (topic->kept.size() > kTopicEventsMax) {
        // Only requeueings can be this many; the ends and the outputs stay.
        const auto queued = std::find_if(topic->kept.begin(), topic->kept.end(),
                                         [](const auto& e) { return e->has_queued(); });
        topic->kept.erase(queued == topic->kept.end() ? topic->kept.begin() : queued);
      }
    }
  }
  Wake(*topic);
}

void EventHub::Close(const std::string& name) {
  std::shared_ptr<Topic> topic;
  {
    MutexLock lock(mutex_);
    const auto node = topics_.extract(name);
    if (node.empty()) return;
    topic = node.mapped();
  }
  {
    MutexLock lock(topic->mutex);
    topic->closed = true;
  }
  Wake(*topic);
}

void EventHub::Wake(Topic& topic) {
  std::vector<std::shared_ptr<Watcher>> waiting;
  {
    MutexLock lock(topic.mutex);
    waiting.swap(topic.waiting);
  }
  for (auto& watcher : waiting) {
    notify_([watcher = std::move(watcher)] { watcher->Run(); });
  }
}

std::unique_ptr<EventStream> EventHub::Watch(const std::string& name, int64_t after_sequence,
                                             bool attached, absl::AnyInvocable<void()> on_ready) {
  std::shared_ptr<Topic> topic;
  {
    MutexLock lock(mutex_);
    const auto it = topics_.find(name);
    if (it == topics_.end()) return nullptr;
    topic = it->second;
  }
  auto watcher = std::make_shared<Watcher>();
  {
    MutexLock lock(watcher->mutex);
    watcher->on_ready = std::move(on_ready);
  }
  bool first = false;
  if (attached) {
    MutexLock lock(topic->mutex);
    first = topic->attached++ == 0;
  }
  if (first) attachment_changed_(name, true);
  return std::make_unique<LiveStream>(*this, std::move(topic), std::move(watcher), after_sequence,
                                      attached);
}

std::optional<int32_t> EventHub::StepsDone(const std::string& name) {
  std::shared_ptr<Topic> topic;
  {
    MutexLock lock(mutex_);
    const auto it = topics_.find(name);
    if (it == topics_.end()) return std::nullopt;
    topic = it->second;
  }
  MutexLock lock(topic->mutex);
  int32_t steps = 0;
  for (const auto& [output, event] : topic->latest) steps += event->progress().step();
  return steps;
}

std::unique_ptr<EventStream> EventHub::Replay(std::vector<v1::GenerateEvent> events) {
  return std::make_unique<ReplayStream>(std::move(events));
}

}  // namespace darkroom::engine
