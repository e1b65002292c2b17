// A seeded run of random calls on the SQLite store and on the one in memory: whatever one answers
// the other must.

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "store/sqlite_store.h"
#include "testing/fake_clock.h"
#include "testing/memory_store.h"
#include "testing/store_messages.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeClock;
using ::darkroom::testing::MakeEvent;
using ::darkroom::testing::MakeGeneration;
using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::NameOf;
using ::darkroom::testing::TempFolder;

// One call with its arguments, from few enough values that calls meet each other.
struct Call {
  enum class Kind { kCreate, kUpdate, kDelete, kPurge, kList, kEvents, kUnfinished, kAbort };

  Kind kind;
  std::string id;
  std::string tenant;
  std::string request_id;
  std::string hash;
  v1::Generation::State state;
  int64_t sequence;
  bool all_states;
  int count;

  Call(std::mt19937_64& random, int step) {
    const auto below = [&](uint64_t bound) { return static_cast<int>(random() % bound); };
    constexpr Kind kKinds[] = {Kind::kCreate, Kind::kCreate, Kind::kCreate,     Kind::kUpdate,
                               Kind::kUpdate, Kind::kDelete, Kind::kPurge,      Kind::kList,
                               Kind::kList,   Kind::kEvents, Kind::kUnfinished, Kind::kAbort};
    kind = kKinds[below(std::size(kKinds))];
    id = absl::StrCat("g", below(40));
    tenant = below(4) == 0 ? "other" : "local";
    request_id = below(3) == 0 ? "" : absl::StrCat("r", below(30));
    hash = absl::StrCat("h", below(8) == 0);
    state = static_cast<v1::Generation::State>(1 + below(5));
    sequence = step + below(20) - 10;
    all_states = below(2) == 0;
    count = below(4);
  }
};

std::string Text(const absl::Status& status) {
  return absl::StrCat(" ", static_cast<int>(status.code()), ErrorReason(status), status.message());
}

std::string Text(const std::vector<v1::Generation>& generations) {
  std::string text;
  for (const v1::Generation& generation : generations) {
    absl::StrAppend(&text, generation.name(), " ", generation.etag(), " ");
  }
  return text;
}

std::string Create(GenerationStore& store, const Call& call) {
  const auto created =
      store.Create({MakeGeneration(call.id, call.tenant), call.request_id, call.hash});
  if (!created.ok()) return Text(created.status());
  return absl::StrCat(created->inserted, created->generation.ShortDebugString());
}

std::string Update(GenerationStore& store, const Call& call) {
  v1::Generation generation = MakeGeneration(call.id, call.tenant);
  generation.set_state(call.state);
  generation.set_steps_done(static_cast<int>(call.sequence));
  return Text(store.Update(generation, {MakeEvent(call.sequence), MakeEvent(call.sequence + 1)}));
}

std::string ListTwoPages(GenerationStore& store, const Call& call) {
  GenerationStore::ListQuery query{
      call.tenant, {call.state, v1::Generation::STATE_QUEUED}, 1 + 3 * call.count, ""};
  if (call.all_states) query.states.clear();
  const auto first = store.List(query);
  if (!first.ok()) return Text(first.status());
  query.page_token = first->next_page_token;
  const auto second = store.List(query);
  if (!second.ok()) return Text(second.status());
  return absl::StrCat(Text(first->generations), " | ", Text(second->generations));
}

// What a store answers, as text that must not depend on the store.
std::string Answer(GenerationStore& store, const Call& call, absl::Time now) {
  std::string text;
  switch (call.kind) {
    case Call::Kind::kCreate:
      return Create(store, call);
    case Call::Kind::kUpdate:
      return Update(store, call);
    case Call::Kind::kDelete:
      return Text(store.Delete(NameOf(call.id, call.tenant)));
    case Call::Kind::kPurge: {
      const auto names = store.PurgeEnded(now - absl::Hours(2), call.count);
      if (!names.ok()) return Text(names.status());
      for (const std::string& name : *names) absl::StrAppend(&text, name, " ");
      return text;
    }
    case Call::Kind::kList:
      return ListTwoPages(store, call);
    case Call::Kind::kEvents: {
      const auto events = store.EventsAfter(NameOf(call.id, call.tenant), call.sequence - 500);
      if (!events.ok()) return Text(events.status());
      for (const v1::GenerateEvent& event : *events) absl::StrAppend(&text, event.sequence(), " ");
      return text;
    }
    case Call::Kind::kUnfinished: {
      const auto generations = store.Unfinished();
      return generations.ok() ? Text(*generations) : Text(generations.status());
    }
    case Call::Kind::kAbort:
      // Leaves no trace, whatever is in it.
      (void)store.Transact([&]() -> absl::Status {
        text = absl::StrCat(Create(store, call), Update(store, call),
                            Text(store.Delete(NameOf(call.id, call.tenant))));
        return absl::AbortedError("changed my mind");
      });
      return text;
  }
  return text;
}

TEST(SqliteStoreModel, AgreesWithTheStoreInMemory) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    FakeClock clock;
    const TempFolder folder;
    SqliteStoreOptions options;
    options.clock = &clock;
    options.free_bytes_min = 0;
    const auto sqlite = OpenSqliteStore(folder.path(), options);
    ASSERT_TRUE(sqlite.ok()) << sqlite.status();
    MemoryStore memory(std::make_shared<MemoryDisk>(), clock);
    std::mt19937_64 random(seed);
    for (int step = 0; step < 1500; ++step) {
      clock.Advance(absl::Minutes(static_cast<int>(random() % 30)));
      const Call call(random, step);
      const std::string expected = Answer(memory, call, clock.WallTime());
      ASSERT_EQ(Answer(**sqlite, call, clock.WallTime()), expected)
          << "seed " << seed << " step " << step << " call " << static_cast<int>(call.kind);
    }
  }
}

}  // namespace
}  // namespace darkroom
