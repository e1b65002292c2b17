// What SqliteStore keeps when the disk fails: every acknowledged group survives, an unacknowledged
// one is there as a whole or not at all, and after an error nothing is tried again. The oracle is a
// MemoryStore that ran the same groups.

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/spdlog.h"
#include "store/sqlite_store.h"
#include "testing/fake_clock.h"
#include "testing/faulty_vfs.h"
#include "testing/memory_store.h"
#include "testing/store_messages.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeClock;
using ::darkroom::testing::FaultyVfs;
using ::darkroom::testing::MakeEvent;
using ::darkroom::testing::MakeGeneration;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::NameOf;
using ::darkroom::testing::TempFolder;
using Fault = FaultyVfs::Fault;
using Unsynced = FaultyVfs::Unsynced;

constexpr int kGroups = 10;

std::string RequestId(int n, int i) { return absl::StrCat("r", n, "-", i); }

// One group of the scenario. Group n does the same on any store that ran the groups before it.
void RunGroup(GenerationStore& store, int n, const Clock& clock) {
  for (int i = 0; i < 3; ++i) {
    const std::string id = absl::StrCat("g", n, "-", i);
    // The last request of each group comes again four groups later.
    (void)store.Create({MakeGeneration(id), RequestId(i == 2 ? n % 4 : n, i), "hash"});
  }
  const auto finish = [&](const std::string& id) {
    auto generation = store.Get(NameOf(id));
    if (!generation.ok()) return;
    generation->set_state(v1::Generation::STATE_SUCCEEDED);
    generation->mutable_request()->set_prompt(std::string(1500, 'p'));
    generation->mutable_end_time()->set_seconds(absl::ToUnixSeconds(clock.WallTime()) + n);
    (void)store.Update(*generation, {MakeEvent(2 * n + 1), MakeEvent(2 * n + 2)});
  };
  finish(absl::StrCat("g", n - 1, "-0"));
  finish(absl::StrCat("g", n - 2, "-1"));
  if (n % 4 == 3) (void)store.Delete(NameOf(absl::StrCat("g", n - 1, "-2")));
  if (n % 5 == 4) {
    (void)store.PurgeEnded(clock.WallTime() + absl::Seconds(n - 3), 2);
  }
}

// Everything that can be seen of a store, as text.
std::string Dump(GenerationStore& store) {
  std::string text;
  GenerationStore::ListQuery query{"local", {}, 7, ""};
  do {
    const auto page = store.List(query);
    if (!page.ok()) return absl::StrCat("list: ", page.status().ToString());
    for (const v1::Generation& generation : page->generations) {
      // The etag stands for all of the content.
      absl::StrAppend(&text, generation.name(), " ", generation.etag(), "\n");
      const auto events = store.EventsAfter(generation.name(), 0);
      if (!events.ok()) return absl::StrCat("events: ", events.status().ToString());
      for (const auto& event : *events) absl::StrAppend(&text, " ", event.sequence());
    }
    query.page_token = page->next_page_token;
  } while (!query.page_token.empty());
  const auto unfinished = store.Unfinished();
  if (!unfinished.ok()) return absl::StrCat("unfinished: ", unfinished.status().ToString());
  for (const v1::Generation& generation : *unfinished) {
    absl::StrAppend(&text, generation.name(), " ");
  }
  // What request ids lead to, without leaving a trace.
  (void)store.Transact([&]() -> absl::Status {
    for (int n = 0; n < kGroups; ++n) {
      for (int i = 0; i < 3; ++i) {
        const std::string probe = absl::StrCat("probe", n, "-", i);
        const auto created = store.Create({MakeGeneration(probe), RequestId(n, i), "hash"});
        absl::StrAppend(&text, "\n", n, i, " ", ErrorReason(created.status()), " ",
                        created.ok() ? created->generation.name() : "");
      }
    }
    return absl::AbortedError("only looking");
  });
  return text;
}

class SqliteStoreFault : public ::testing::Test {
 protected:
  SqliteStoreFault() {
    // Each of thousands of faults would be logged.
    spdlog::set_level(spdlog::level::off);
    for (int groups = 0; groups <= kGroups; ++groups) {
      MemoryStore store(std::make_shared<MemoryDisk>(), clock_);
      for (int n = 0; n < groups; ++n) EXPECT_TRUE(Commit(store, n).ok());
      expected_.push_back(Dump(store));
    }
  }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }

  absl::Status Commit(GenerationStore& store, int n) {
    return store.Transact([&] {
      RunGroup(store, n, clock_);
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::unique_ptr<GenerationStore>> Open() {
    SqliteStoreOptions options;
    options.free_bytes_min = 0;
    options.clock = &clock_;
    options.wal_pages_max = 25;
    options.vfs = vfs_.name();
    return OpenSqliteStore(folder_.path(), options);
  }

  // Opens the store and commits from group `first` on; returns how many groups of all are
  // acknowledged.
  int RunUntilFault(int first) {
    auto store = Open();
    was_opened_ = store.ok();
    if (!was_opened_) return first;
    int acknowledged = first;
    absl::Status failure;
    while (acknowledged < kGroups && failure.ok()) {
      failure = Commit(**store, acknowledged);
      if (failure.ok()) ++acknowledged;
    }
    if (!failure.ok()) ExpectBroken(**store, failure);
    return acknowledged;
  }

  void ExpectBroken(GenerationStore& store, const absl::Status& failure) {
    EXPECT_TRUE(ErrorReason(failure) == "STORE_BROKEN" || ErrorReason(failure) == "DISK_FULL")
        << failure;
    const int64_t operations = vfs_.operations();
    EXPECT_EQ(store.Get(NameOf("g0-1")).status(), failure);
    EXPECT_EQ(store.Create({MakeGeneration("x"), "", ""}).status(), failure);
    EXPECT_EQ(store.Update(MakeGeneration("g0-1"), {}), failure);
    EXPECT_EQ(store.Delete(NameOf("g0-1")), failure);
    EXPECT_EQ(store.List({"local", {}, 5, ""}).status(), failure);
    EXPECT_EQ(store.EventsAfter(NameOf("g0-1"), 0).status(), failure);
    EXPECT_EQ(store.Unfinished().status(), failure);
    EXPECT_EQ(store.PurgeEnded(clock_.WallTime(), 5).status(), failure);
    EXPECT_EQ(store.NextBoot().status(), failure);
    EXPECT_EQ(store.Transact([] { return absl::OkStatus(); }), failure);
    EXPECT_EQ(vfs_.operations(), operations) << "a broken store touches the disk";
  }

  // Returns how many groups survived.
  int ExpectRecovered(int acknowledged) {
    auto store = Open();
    EXPECT_TRUE(store.ok()) << store.status();
    if (!store.ok()) return acknowledged;
    const std::string found = Dump(**store);
    if (found == expected_[acknowledged]) return acknowledged;
    EXPECT_LT(acknowledged, kGroups);
    // The group that was under way may have reached the disk before the fault was reported.
    const int next = std::min(acknowledged + 1, kGroups);
    EXPECT_TRUE(found == expected_[next]) << "after " << acknowledged << " acknowledged groups\n"
                                          << found;
    return next;
  }

  FakeClock clock_;
  TempFolder folder_;
  FaultyVfs vfs_;
  std::vector<std::string> expected_;
  bool was_opened_ = false;
};

TEST_F(SqliteStoreFault, WithoutFaultsBothStoresAgree) {
  EXPECT_EQ(RunUntilFault(0), kGroups);
  EXPECT_GT(vfs_.operations(), 200);
  for (int n = 0; n < kGroups; ++n) EXPECT_NE(expected_[n], expected_[n + 1]) << "idle group " << n;
  vfs_.Restart(Unsynced::kDropped, 0);
  EXPECT_EQ(ExpectRecovered(kGroups), kGroups);
}

// Every operation fails once, in each way, and the power fails at every operation.
TEST_F(SqliteStoreFault, EveryOperationMayFail) {
  int faults = 0;
  int while_opening = 0;
  for (const Fault fault : {Fault::kIoError, Fault::kDiskFull, Fault::kPowerLoss}) {
    for (const Unsynced unsynced : {Unsynced::kKept, Unsynced::kDropped, Unsynced::kMixed}) {
      for (int64_t k = 1;; ++k) {
        vfs_.Wipe();
        vfs_.FailAt(k, fault);
        const int acknowledged = RunUntilFault(0);
        if (!vfs_.has_failed()) break;
        ++faults;
        // Opening a new store may take back what it began; once there is something to lose nothing
        // is tried any more, not even when the connection closes.
        if (was_opened_) {
          EXPECT_EQ(vfs_.changes_after_fault(), 0);
        } else {
          ++while_opening;
        }
        vfs_.Restart(unsynced, k);
        ExpectRecovered(acknowledged);
        ASSERT_FALSE(HasFailure()) << "fault " << static_cast<int>(fault) << " unsynced "
                                   << static_cast<int>(unsynced) << " at operation " << k;
      }
    }
  }
  printf("%d faults, %d of them while opening\n", faults, while_opening);
  EXPECT_GT(faults, 1000);
}

// Power loss after power loss, also while recovering from the last.
TEST_F(SqliteStoreFault, RecoveryMayFailToo) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    vfs_.Wipe();
    int survived = 0;
    for (int crash = 0; crash < 12 && survived < kGroups; ++crash) {
      vfs_.FailAt(1 + static_cast<int64_t>(random() % 160), Fault::kPowerLoss);
      const int acknowledged = RunUntilFault(survived);
      vfs_.Restart(Unsynced::kMixed, random());
      survived = ExpectRecovered(acknowledged);
      ASSERT_FALSE(HasFailure()) << "seed " << seed << " crash " << crash;
    }
  }
}

TEST_F(SqliteStoreFault, BootNumbersNeverRepeat) {
  std::mt19937_64 random(7);
  int64_t last = 0;
  for (int crash = 0; crash < 300; ++crash) {
    vfs_.FailAt(1 + static_cast<int64_t>(random() % 200), Fault::kPowerLoss);
    if (auto store = Open(); store.ok()) {
      for (auto boot = (*store)->NextBoot(); boot.ok(); boot = (*store)->NextBoot()) {
        ASSERT_GT(*boot, last);
        last = *boot;
      }
    }
    vfs_.Restart(Unsynced::kMixed, random());
  }
  EXPECT_GT(last, 300);
}

}  // namespace
}  // namespace darkroom
