#include "store/store_thread.h"

#include <pthread.h>

#include <utility>

namespace darkroom {

StoreThread::StoreThread(std::unique_ptr<GenerationStore> store, Options options)
    : options_(options), queue_(options.queue_max) {
  thread_ = std::thread([this, store = std::move(store)]() mutable { Loop(std::move(store)); });
}

template <typename Closures>
bool StoreThread::PostOrGiveBack(Closures& closures, absl::FunctionRef<bool(Item&&)> push) {
  Item item(std::move(closures));
  if (push(std::move(item))) return true;
  // The queue has not touched what it refused.
  closures = std::get<Closures>(std::move(item));  // NOLINT(bugprone-use-after-move)
  return false;
}

bool StoreThread::Post(Write&& write) {
  return PostOrGiveBack(write, [this](Item&& item) { return queue_.TryPush(std::move(item)); });
}

bool StoreThread::Post(Read&& read) {
  return PostOrGiveBack(read, [this](Item&& item) { return queue_.TryPush(std::move(item)); });
}

bool StoreThread::PostAlways(Write&& write) {
  return PostOrGiveBack(write, [this](Item&& item) { return queue_.Push(std::move(item)); });
}

void StoreThread::Stop() {
  queue_.Close();
  if (thread_.joinable()) thread_.join();
}

void StoreThread::Loop(std::unique_ptr<GenerationStore> store) {
  pthread_setname_np(pthread_self(), "store");
  std::vector<Item> items;
  while (queue_.PopAll(items, options_.group_max, /*timeout_ns=*/-1)) {
    RunGroup(*store, items);
    items.clear();
  }
}

void StoreThread::RunGroup(GenerationStore& store, std::vector<Item>& items) {
  int64_t writes = 0;
  for (Item& item : items) writes += std::holds_alternative<Write>(item) ? 1 : 0;
  if (writes > 0) {
    const int64_t start_ns = options_.clock->MonotonicNanos();
    const absl::Status committed = store.Transact([&] {
      for (Item& item : items) {
        if (Write* write = std::get_if<Write>(&item)) write->body(store);
      }
      return absl::OkStatus();
    });
    const int64_t nanos = options_.clock->MonotonicNanos() - start_ns;
    // This thread alone writes these, so that loads need not be one step with stores.
    commits_.fetch_add(1, std::memory_order_relaxed);
    writes_.fetch_add(writes, std::memory_order_relaxed);
    commit_nanos_total_.fetch_add(nanos, std::memory_order_relaxed);
    if (nanos > commit_nanos_max_.load(std::memory_order_relaxed)) {
      commit_nanos_max_.store(nanos, std::memory_order_relaxed);
    }
    for (Item& item : items) {
      Write* write = std::get_if<Write>(&item);
      if (write != nullptr && write->done) write->done(committed);
    }
  }
  for (Item& item : items) {
    if (Read* read = std::get_if<Read>(&item)) {
      read->body(store);
      reads_.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

StoreThread::Stats StoreThread::stats() const {
  return {commits_.load(std::memory_order_relaxed), writes_.load(std::memory_order_relaxed),
          reads_.load(std::memory_order_relaxed),
          commit_nanos_total_.load(std::memory_order_relaxed),
          commit_nanos_max_.load(std::memory_order_relaxed)};
}

}  // namespace darkroom
