// kill -9 at random moments. A child works on a store and tells through a pipe what was
// acknowledged to it; whatever the moment it dies at, nothing acknowledged may be lost, and what
// was under way is there as a whole or not at all. DARKROOM_KILLS sets the number of kills (default
// 30), DARKROOM_KILL_SEED the moments.

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "store/directory_blob_store.h"
#include "store/sqlite_store.h"
#include "store/store_thread.h"
#include "testing/child_process.h"
#include "testing/store_messages.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::ChildProcess;
using ::darkroom::testing::MakeEvent;
using ::darkroom::testing::MakeGeneration;
using ::darkroom::testing::NameOf;
using ::darkroom::testing::TempFolder;

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

void SleepMicros(int64_t micros) {
  timespec time{micros / 1'000'000, micros % 1'000'000 * 1000};
  ::nanosleep(&time, nullptr);
}

// Lets the child live until a random moment: one in four dies while it opens its store or soon
// after, the others a little after one of their first `told_max` acknowledgements. Returns what was
// told.
std::vector<int64_t> KillAtRandom(ChildProcess& child, std::mt19937_64& random, int64_t told_max) {
  if (random() % 4 == 0) {
    SleepMicros(static_cast<int64_t>(random() % 20'000));
    child.Kill();
    return child.ReadAll();
  }
  int64_t left = 1 + static_cast<int64_t>(random() % told_max);
  const auto delay_us = static_cast<int64_t>(random() % 3000);
  return child.ReadAll([&](int64_t) {
    if (--left != 0) return true;
    SleepMicros(delay_us);
    return false;
  });
}

absl::StatusOr<std::unique_ptr<GenerationStore>> Open(const std::string& folder) {
  SqliteStoreOptions options;
  options.free_bytes_min = 0;
  // Small, so that many kills meet a checkpoint.
  options.wal_pages_max = 200;
  return OpenSqliteStore(folder, options);
}

// What is told: the number of a generation, and what of it was acknowledged.
enum Acknowledged : int64_t { kBoot = 0, kCreated = 1, kFinished = 2, kDeleted = 3 };
constexpr int64_t kKinds = 4;

std::string Id(int64_t number) { return absl::StrCat("g", number); }
std::string RequestId(int64_t number) { return absl::StrCat("request-", number); }

// The child: creates generation after generation, finishes most and deletes some, as fast as it may
// with a bounded number under way, each acknowledgement told when it is durable.
class Load {
 public:
  Load(std::unique_ptr<GenerationStore> store, const ChildProcess::Teller& teller)
      : teller_(teller), thread_(std::move(store)) {}

  [[noreturn]] void Run(int64_t first) {
    for (int64_t number = first;; ++number) {
      const auto failed = std::make_shared<bool>(false);
      Post(number, kCreated, failed, [=](GenerationStore& store) {
        const auto created = store.Create({MakeGeneration(Id(number)), RequestId(number), "hash"});
        *failed = !created.ok() || !created->inserted;
      });
      if (number % 2 == 0) continue;
      Post(number, kFinished, failed, [=](GenerationStore& store) {
        v1::Generation generation = MakeGeneration(Id(number));
        generation.set_state(v1::Generation::STATE_SUCCEEDED);
        generation.mutable_request()->set_prompt(std::string(number % 5000, 'p'));
        *failed |= !store.Update(generation, {MakeEvent(1), MakeEvent(2)}).ok();
      });
      if (number % 10 != 1) continue;
      Post(number, kDeleted, failed,
           [=](GenerationStore& store) { *failed |= !store.Delete(NameOf(Id(number))).ok(); });
    }
  }

 private:
  void Post(int64_t number, Acknowledged kind, std::shared_ptr<bool> failed,
            absl::AnyInvocable<void(GenerationStore&)> body) {
    StoreThread::Write write{std::move(body), [=, this](const absl::Status& committed) {
                               if (!committed.ok() || *failed) ::_exit(2);
                               teller_.Tell(number * kKinds + kind);
                             }};
    while (thread_.queued() > 40 || !thread_.Post(std::move(write))) SleepMicros(20);
  }

  const ChildProcess::Teller& teller_;
  StoreThread thread_;
};

// What the parent knows of one generation.
struct Journal {
  std::vector<int> acknowledged;  // by number: the last kind told, -1 for none
  int64_t last_boot = 0;
  int64_t next = 0;
};

// Whether the store holds at least what was acknowledged of this generation, and nothing half.
void CheckGeneration(GenerationStore& store, int64_t number, int acknowledged) {
  const auto generation = store.Get(NameOf(Id(number)));
  const bool is_gone = ErrorReason(generation.status()) == "GENERATION_NOT_FOUND";
  ASSERT_TRUE(generation.ok() || is_gone) << generation.status();
  bool is_known = false;
  ASSERT_TRUE(absl::IsAborted(store.Transact([&]() -> absl::Status {
    const auto repeated = store.Create({MakeGeneration("probe"), RequestId(number), "hash"});
    is_known = !repeated.ok() || !repeated->inserted;
    return absl::AbortedError("only looking");
  })));
  if (is_gone) {
    EXPECT_TRUE(acknowledged < kCreated || number % 10 == 1) << "lost generation " << number;
    if (acknowledged == kCreated) {
      EXPECT_TRUE(is_known);
    }
    if (is_known) {
      EXPECT_EQ(number % 10, 1) << "half a create of " << number;
    }
    return;
  }
  EXPECT_TRUE(is_known) << "generation " << number << " without its request id";
  EXPECT_LT(acknowledged, kDeleted) << "generation " << number << " is back";
  const bool is_finished = generation->state() == v1::Generation::STATE_SUCCEEDED;
  EXPECT_TRUE(is_finished || acknowledged < kFinished) << "lost the end of " << number;
  const auto events = store.EventsAfter(generation->name(), 0);
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_EQ(events->size(), is_finished ? 2u : 0u) << "half an update of " << number;
}

TEST(StoreKill, NothingAcknowledgedIsLost) {
  const TempFolder folder;
  const int64_t kills = FromEnvironment("DARKROOM_KILLS", 30);
  const int64_t seed = FromEnvironment("DARKROOM_KILL_SEED", 1);
  std::mt19937_64 random(seed);
  Journal journal;
  int64_t acknowledgements = 0;
  for (int64_t kill = 0; kill < kills; ++kill) {
    const int64_t first = journal.next;
    ChildProcess child([&](const ChildProcess::Teller& teller) {
      auto store = Open(folder.path());
      if (!store.ok()) return 3;
      const auto boot = (*store)->NextBoot();
      if (!boot.ok()) return 4;
      teller.Tell(*boot * kKinds + kBoot);
      Load(*std::move(store), teller).Run(first);
    });
    const std::vector<int64_t> told = KillAtRandom(child, random, 3000);
    const int status = child.Wait();
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself: " << WEXITSTATUS(status);

    for (const int64_t value : told) {
      const int64_t number = value / kKinds;
      if (value % kKinds == kBoot) {
        EXPECT_GT(number, journal.last_boot);
        journal.last_boot = number;
        continue;
      }
      journal.acknowledged.resize(
          std::max(journal.acknowledged.size(), static_cast<size_t>(number) + 1), -1);
      journal.acknowledged[number] = static_cast<int>(value % kKinds);
      ++acknowledgements;
    }
    auto store = Open(folder.path());
    ASSERT_TRUE(store.ok()) << store.status();
    // All of this child's, what was under way included; of the others a sample.
    journal.next = static_cast<int64_t>(journal.acknowledged.size()) + 1000;
    journal.acknowledged.resize(journal.next, -1);
    for (int64_t number = first; number < journal.next; ++number) {
      CheckGeneration(**store, number, journal.acknowledged[number]);
    }
    for (int i = 0; i < 100 && first > 0; ++i) {
      const int64_t number = static_cast<int64_t>(random() % first);
      CheckGeneration(**store, number, journal.acknowledged[number]);
    }
    ASSERT_FALSE(::testing::Test::HasFailure()) << "kill " << kill << " of seed " << seed;
  }
  auto store = Open(folder.path());
  ASSERT_TRUE(store.ok()) << store.status();
  for (int64_t number = 0; number < journal.next; ++number) {
    CheckGeneration(**store, number, journal.acknowledged[number]);
  }
  printf("%ld kills, %ld acknowledgements, none lost\n", static_cast<long>(kills),
         static_cast<long>(acknowledgements));
  EXPECT_GT(acknowledgements, 100 * kills) << "the children hardly got to work";
}

// Blobs: what was acknowledged is there, and whatever is there is whole.
TEST(StoreKill, BlobsAreWhole) {
  const TempFolder folder;
  const int64_t kills = FromEnvironment("DARKROOM_KILLS", 30);
  const int64_t seed = FromEnvironment("DARKROOM_KILL_SEED", 1);
  std::mt19937_64 random(seed);
  const auto content = [](int64_t number) {
    return std::string(static_cast<size_t>(1 + number * 79190 % 4'000'000),
                       static_cast<char>('a' + number % 26));
  };
  const auto key = [](int64_t number) {
    return absl::StrCat("tenants/local/generations/g", number / 3, "/", number % 3);
  };
  int64_t next = 0;
  std::vector<bool> acknowledged;
  for (int64_t kill = 0; kill < kills; ++kill) {
    ChildProcess child([&, first = next](const ChildProcess::Teller& teller) {
      auto store = OpenDirectoryBlobStore(folder.path());
      if (!store.ok()) return 3;
      for (int64_t number = first;; ++number) {
        if (!(*store)->Put(key(number), content(number)).ok()) return 4;
        teller.Tell(number);
      }
    });
    const std::vector<int64_t> told = KillAtRandom(child, random, 20);
    ASSERT_TRUE(WIFSIGNALED(child.Wait()));
    acknowledged.resize(next + static_cast<int64_t>(told.size()) + 2, false);
    for (const int64_t number : told) acknowledged[number] = true;

    auto store = OpenDirectoryBlobStore(folder.path());
    ASSERT_TRUE(store.ok()) << store.status();
    for (; next < static_cast<int64_t>(acknowledged.size()); ++next) {
      const auto blob = (*store)->Get(key(next));
      if (blob.ok()) {
        EXPECT_TRUE(blob->bytes() == content(next)) << "blob " << next << " is damaged";
      } else {
        EXPECT_EQ(ErrorReason(blob.status()), "BLOB_NOT_FOUND");
        EXPECT_FALSE(acknowledged[next]) << "blob " << next << " is lost";
      }
    }
    ASSERT_FALSE(::testing::Test::HasFailure()) << "kill " << kill << " of seed " << seed;
  }
  const auto count = std::count(acknowledged.begin(), acknowledged.end(), true);
  printf("%ld kills, %ld blobs, none lost\n", static_cast<long>(kills), static_cast<long>(count));
  EXPECT_GT(count, kills);
}

}  // namespace
}  // namespace darkroom
