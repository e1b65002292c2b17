#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "base/bounded_queue.h"
#include "base/clock.h"
#include "darkroom/store.h"
#include "store/limits.h"

namespace darkroom {

// Owns a GenerationStore on a thread of its own and commits in groups: whatever was posted while
// the last commit ran shares the next one, so that many creates cost one sync of the disk.
//
// Order: writes take effect in the order in which they were posted, and so do their `done`s. A read
// sees every write posted before it and may see later ones; reads run in the order of their
// posting. A `done` runs before every read posted after its write.
//
// Thread-safe. Closures run and die on the store thread; they may post, and must not wait for what
// they post.
class StoreThread {
 public:
  struct Write {
    // Calls the store; whatever fails here fails alone (a conflict, a missing row). What it found
    // must not be told to anyone before `done` says that it is durable. Not run at all when the
    // store is broken.
    absl::AnyInvocable<void(GenerationStore&)> body;
    // After the commit: OK when durable, otherwise nothing of the group was written and the store
    // is broken. May be empty.
    absl::AnyInvocable<void(const absl::Status& committed)> done;
  };
  struct Read {
    absl::AnyInvocable<void(GenerationStore&)> body;
  };

  struct Options {
    size_t queue_max = store_limits::kQueueMax;
    size_t group_max = store_limits::kGroupMax;
    // Measures commits. Must outlive the thread.
    const Clock* clock = &Clock::Real();
  };

  // Since the start.
  struct Stats {
    int64_t commits = 0;
    int64_t writes = 0;
    int64_t reads = 0;
    // From a group's first write to its being durable.
    int64_t commit_nanos_total = 0;
    int64_t commit_nanos_max = 0;
  };

  explicit StoreThread(std::unique_ptr<GenerationStore> store)
      : StoreThread(std::move(store), Options()) {}
  StoreThread(std::unique_ptr<GenerationStore> store, Options options);
  ~StoreThread() { Stop(); }
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  // Never block. False when the queue is full or Stop was called; the argument is then untouched.
  bool Post(Write&& write);
  bool Post(Read&& read);
  // For writes that must not be refused and whose number is bounded elsewhere (state changes of
  // generations that were accepted). False only after Stop.
  bool PostAlways(Write&& write);

  // Runs everything posted, closes the store and joins the thread. Idempotent.
  // Not for the store thread itself, nor for two threads at once.
  void Stop();

  Stats stats() const;
  size_t queued() { return queue_.size(); }

 private:
  using Item = std::variant<Write, Read>;

  template <typename Closures>
  bool PostOrGiveBack(Closures& closures, absl::FunctionRef<bool(Item&&)> push);
  void Loop(std::unique_ptr<GenerationStore> store);
  void RunGroup(GenerationStore& store, std::vector<Item>& items);

  const Options options_;
  BoundedQueue<Item> queue_;
  std::atomic<int64_t> commits_{0};
  std::atomic<int64_t> writes_{0};
  std::atomic<int64_t> reads_{0};
  std::atomic<int64_t> commit_nanos_total_{0};
  std::atomic<int64_t> commit_nanos_max_{0};
  std::thread thread_;
};

}  // namespace darkroom
