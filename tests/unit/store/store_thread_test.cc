#include "store/store_thread.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/sqlite_store.h"
#include "testing/memory_store.h"
#include "testing/store_messages.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::MakeGeneration;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::NameOf;
using ::testing::ElementsAre;
using ::testing::SizeIs;

// Something that one thread waits for and another lets happen.
class Gate {
 public:
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = true;
    opened_.notify_all();
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    opened_.wait(lock, [&] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool is_open_ = false;
};

StoreThread::Write CreateOf(const std::string& id) {
  return {[id](GenerationStore& store) {
            EXPECT_TRUE(store.Create({MakeGeneration(id), "", ""}).ok());
          },
          {}};
}

class StoreThreadTest : public ::testing::Test {
 protected:
  void Start(StoreThread::Options options = {}) {
    thread_ = std::make_unique<StoreThread>(std::make_unique<MemoryStore>(disk_), options);
  }

  // Occupies the store thread until `gate` opens; returns once it is occupied.
  void Block(Gate& gate) {
    Gate reached;
    ASSERT_TRUE(thread_->Post(StoreThread::Read{[&](GenerationStore&) {
      reached.Open();
      gate.Wait();
    }}));
    reached.Wait();
  }

  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<StoreThread> thread_;
};

TEST_F(StoreThreadTest, WhatWaitsSharesOneCommit) {
  Start();
  Gate gate;
  Block(gate);
  std::atomic<int> done{0};
  for (int i = 0; i < 100; ++i) {
    StoreThread::Write write = CreateOf(absl::StrCat("g", i));
    write.done = [&](const absl::Status& committed) {
      EXPECT_TRUE(committed.ok()) << committed;
      EXPECT_EQ(disk_->commits(), 1) << "durable before anyone is told";
      ++done;
    };
    ASSERT_TRUE(thread_->Post(std::move(write)));
  }
  gate.Open();
  thread_->Stop();
  EXPECT_EQ(done, 100);
  EXPECT_EQ(disk_->commits(), 1);
  const StoreThread::Stats stats = thread_->stats();
  EXPECT_EQ(stats.commits, 1);
  EXPECT_EQ(stats.writes, 100);
  EXPECT_EQ(stats.reads, 1);
  EXPECT_GT(stats.commit_nanos_total, 0);
  EXPECT_EQ(stats.commit_nanos_max, stats.commit_nanos_total);
}

TEST_F(StoreThreadTest, GroupsAreBounded) {
  StoreThread::Options options;
  options.group_max = 8;
  Start(options);
  Gate gate;
  Block(gate);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(thread_->Post(CreateOf(absl::StrCat("g", i))));
  gate.Open();
  thread_->Stop();
  EXPECT_EQ(disk_->commits(), 3);
}

TEST_F(StoreThreadTest, KeepsTheOrderThatItPromises) {
  Start();
  Gate gate;
  Block(gate);
  std::vector<std::string> log;  // Written by the store thread alone.
  const auto write = [&](const std::string& name) {
    ASSERT_TRUE(thread_->Post(
        StoreThread::Write{[&log, name](GenerationStore& store) {
                             log.push_back("write " + name);
                             EXPECT_TRUE(store.Create({MakeGeneration(name), "", ""}).ok());
                           },
                           [&log, name](const absl::Status&) { log.push_back("done " + name); }}));
  };
  const auto read = [&](const std::string& name) {
    ASSERT_TRUE(thread_->Post(StoreThread::Read{[&log, name](GenerationStore& store) {
      log.push_back("read " + name);
      EXPECT_TRUE(store.Get(NameOf(name)).ok()) << "sees what was posted before";
    }}));
  };
  write("a");
  read("a");
  write("b");
  read("b");
  gate.Open();
  thread_->Stop();
  EXPECT_THAT(log, ElementsAre("write a", "write b", "done a", "done b", "read a", "read b"));
}

TEST_F(StoreThreadTest, FullQueueRefusesAndLeavesTheArgument) {
  StoreThread::Options options;
  options.queue_max = 2;
  Start(options);
  Gate gate;
  Block(gate);
  ASSERT_TRUE(thread_->Post(CreateOf("a")));
  ASSERT_TRUE(thread_->Post(CreateOf("b")));
  StoreThread::Write refused = CreateOf("c");
  EXPECT_FALSE(thread_->Post(std::move(refused)));
  ASSERT_TRUE(refused.body != nullptr) << "still the caller's";
  StoreThread::Read refused_read{[](GenerationStore&) {}};
  EXPECT_FALSE(thread_->Post(std::move(refused_read)));
  ASSERT_TRUE(refused_read.body != nullptr);
  EXPECT_EQ(thread_->queued(), 2u);
  EXPECT_TRUE(thread_->PostAlways(std::move(refused)));
  gate.Open();
  thread_->Stop();
  MemoryStore store(disk_);
  EXPECT_THAT(*store.Unfinished(), SizeIs(3));

  StoreThread::Write late = CreateOf("d");
  EXPECT_FALSE(thread_->Post(std::move(late)));
  EXPECT_FALSE(thread_->PostAlways(std::move(late)));
  EXPECT_TRUE(late.body != nullptr);
}

TEST_F(StoreThreadTest, FailedCommitTellsAllOfItsGroupAndAllLater) {
  Start();
  Gate gate;
  Block(gate);
  disk_->FailCommitAfter(0);
  std::vector<absl::Status> committed;
  int bodies = 0;
  const auto post = [&](const std::string& id) {
    ASSERT_TRUE(thread_->Post(
        StoreThread::Write{[&bodies, id](GenerationStore& store) {
                             ++bodies;
                             EXPECT_TRUE(store.Create({MakeGeneration(id), "", ""}).ok());
                           },
                           [&](const absl::Status& status) { committed.push_back(status); }}));
  };
  post("a");
  post("b");
  gate.Open();
  // Another group.
  Gate read;
  ASSERT_TRUE(thread_->Post(StoreThread::Read{[&](GenerationStore& store) {
    EXPECT_FALSE(store.Get(NameOf("a")).ok());
    read.Open();
  }}));
  read.Wait();
  disk_->Repair();
  post("c");
  thread_->Stop();
  ASSERT_THAT(committed, SizeIs(3));
  for (const absl::Status& status : committed) EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(bodies, 2) << "a broken store is not asked again";
  MemoryStore store(disk_);
  EXPECT_THAT(*store.Unfinished(), SizeIs(0));
}

TEST_F(StoreThreadTest, ClosuresMayPost) {
  Start();
  Gate finished;
  std::atomic<bool> is_written{false};
  ASSERT_TRUE(
      thread_->Post(StoreThread::Write{[](GenerationStore&) {},
                                       [&](const absl::Status&) {
                                         EXPECT_TRUE(thread_->Post(StoreThread::Write{
                                             [&](GenerationStore&) { is_written = true; },
                                             [&](const absl::Status&) { finished.Open(); }}));
                                       }}));
  finished.Wait();
  EXPECT_TRUE(is_written);
}

TEST_F(StoreThreadTest, StopIsIdempotentAndDestructionStops) {
  Start();
  thread_->Stop();
  thread_->Stop();
  Start();
  ASSERT_TRUE(thread_->Post(CreateOf("a")));
  thread_.reset();
  MemoryStore store(disk_);
  EXPECT_THAT(*store.Unfinished(), SizeIs(1)) << "drained";
}

// The point of it all: creates a second with one sync each and with shared syncs, on a real disk.
TEST(StoreThreadSpeed, GroupCommitBeatsSingleCommits) {
  const testing::TempFolder folder;
  SqliteStoreOptions store_options;
  store_options.free_bytes_min = 0;
  const auto measure = [&](const std::string& path, size_t group_max, int count) {
    auto store = OpenSqliteStore(folder.path() + path, store_options);
    EXPECT_TRUE(store.ok()) << store.status();
    StoreThread::Options options;
    options.group_max = group_max;
    StoreThread thread(*std::move(store), options);
    std::atomic<int> failures{0};
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      EXPECT_TRUE(thread.Post(StoreThread::Write{
          [&failures, i](GenerationStore& s) {
            const std::string id = absl::StrCat("g", i);
            failures += s.Create({MakeGeneration(id), id, "hash"}).ok() ? 0 : 1;
          },
          [&failures](const absl::Status& status) { failures += status.ok() ? 0 : 1; }}));
    }
    thread.Stop();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(failures, 0);
    const StoreThread::Stats stats = thread.stats();
    const double rate = count / took.count();
    printf("groups of at most %4zu: %8.0f creates/s, %5.0f us mean and %5.0f us max a commit\n",
           group_max, rate, 1e-3 * stats.commit_nanos_total / stats.commits,
           1e-3 * stats.commit_nanos_max);
    return rate;
  };
  const double single = measure("/single", 1, 200);
  const double grouped = measure("/grouped", store_limits::kGroupMax, 10000);
  EXPECT_GT(grouped, 2 * single);
}

}  // namespace
}  // namespace darkroom
