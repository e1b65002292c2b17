// The contract of include/darkroom/store.h, run against every implementation.

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "darkroom/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/limits.h"
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
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

enum class Kind { kSqlite, kMemory };

class StoreContract : public ::testing::TestWithParam<Kind> {
 protected:
  StoreContract() { Reopen(); }

  // Closes the store and opens it again, as a restart of the daemon does.
  void Reopen() {
    store_.reset();
    if (GetParam() == Kind::kMemory) {
      store_ = std::make_unique<MemoryStore>(disk_, clock_);
      return;
    }
    SqliteStoreOptions options;
    options.clock = &clock_;
    options.free_bytes_min = 0;
    auto opened = OpenSqliteStore(folder_.path(), options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  absl::StatusOr<GenerationStore::Created> Create(const std::string& id,
                                                  const std::string& request_id = "",
                                                  const std::string& hash = "hash",
                                                  const std::string& tenant = "local") {
    return store_->Create({MakeGeneration(id, tenant), request_id, hash});
  }

  void CreateAll(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) ASSERT_TRUE(Create(id).ok()) << id;
  }

  absl::Status End(const std::string& id, v1::Generation::State state, absl::Time end_time) {
    auto generation = store_->Get(NameOf(id));
    if (!generation.ok()) return generation.status();
    generation->set_state(state);
    generation->mutable_end_time()->set_seconds(absl::ToUnixSeconds(end_time));
    return store_->Update(*generation, {});
  }

  std::vector<std::string> Ids(const std::vector<v1::Generation>& generations) {
    std::vector<std::string> ids;
    for (const v1::Generation& generation : generations) {
      ids.push_back(generation.name().substr(generation.name().rfind('/') + 1));
    }
    return ids;
  }

  FakeClock clock_;
  TempFolder folder_;
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<GenerationStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, ::testing::Values(Kind::kSqlite, Kind::kMemory),
                         [](const auto& info) {
                           return info.param == Kind::kSqlite ? "Sqlite" : "Memory";
                         });

void ExpectReason(const absl::Status& status, absl::StatusCode code, const std::string& reason) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ErrorReason(status), reason) << status;
}

TEST_P(StoreContract, CreateGivesBackWhatWasStored) {
  v1::Generation generation = MakeGeneration("a");
  (*generation.mutable_request()->mutable_labels())["project"] = "fox";
  (*generation.mutable_request()->mutable_labels())["a"] = "b";
  const auto created = store_->Create({generation, "", ""});
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(created->inserted);
  EXPECT_FALSE(created->generation.etag().empty());

  Reopen();
  auto read = store_->Get(NameOf("a"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->etag(), created->generation.etag());
  read->clear_etag();
  EXPECT_EQ(read->SerializeAsString().size(), generation.SerializeAsString().size());
  EXPECT_EQ(read->request().labels().at("project"), "fox");
  EXPECT_EQ(read->request().prompt(), generation.request().prompt());
}

TEST_P(StoreContract, EtagChangesWithTheContentAlone) {
  CreateAll({"a"});
  const std::string first = store_->Get(NameOf("a"))->etag();
  v1::Generation generation = *store_->Get(NameOf("a"));
  ASSERT_TRUE(store_->Update(generation, {}).ok());
  EXPECT_EQ(store_->Get(NameOf("a"))->etag(), first);
  generation.set_etag("made up");
  ASSERT_TRUE(store_->Update(generation, {}).ok());
  EXPECT_EQ(store_->Get(NameOf("a"))->etag(), first);
  generation.set_steps_done(1);
  ASSERT_TRUE(store_->Update(generation, {}).ok());
  EXPECT_NE(store_->Get(NameOf("a"))->etag(), first);
}

TEST_P(StoreContract, GetOfNothing) {
  ExpectReason(store_->Get(NameOf("a")).status(), absl::StatusCode::kNotFound,
               "GENERATION_NOT_FOUND");
  CreateAll({"a"});
  // Another tenant's is as absent as none.
  ExpectReason(store_->Get(NameOf("a", "other")).status(), absl::StatusCode::kNotFound,
               "GENERATION_NOT_FOUND");
  ExpectReason(store_->Get("tenants/../generations/a").status(), absl::StatusCode::kInvalidArgument,
               "RESOURCE_NAME_INVALID");
}

TEST_P(StoreContract, CreateRefusesWhatItCannotKeep) {
  CreateAll({"a"});
  ExpectReason(Create("a").status(), absl::StatusCode::kAlreadyExists, "GENERATION_EXISTS");
  v1::Generation generation = MakeGeneration("b");
  generation.set_name("b");
  ExpectReason(store_->Create({generation, "", ""}).status(), absl::StatusCode::kInvalidArgument,
               "RESOURCE_NAME_INVALID");
  ExpectReason(Create("b", std::string(store_limits::kRequestIdBytesMax + 1, 'r')).status(),
               absl::StatusCode::kInvalidArgument, "REQUEST_ID_INVALID");
  generation = MakeGeneration("b");
  generation.mutable_request()->set_prompt(std::string(store_limits::kGenerationBytesMax, 'p'));
  ExpectReason(store_->Create({generation, "", ""}).status(), absl::StatusCode::kInvalidArgument,
               "GENERATION_TOO_LARGE");
  EXPECT_THAT(Ids(*store_->Unfinished()), ElementsAre("a"));
}

TEST_P(StoreContract, RequestIdAttachesToTheFirst) {
  ASSERT_TRUE(Create("a", "request", "hash").ok());
  v1::Generation generation = *store_->Get(NameOf("a"));
  generation.set_state(v1::Generation::STATE_RUNNING);
  ASSERT_TRUE(store_->Update(generation, {}).ok());

  for (int restart = 0; restart < 2; ++restart) {
    const auto repeated = Create("b", "request", "hash");
    ASSERT_TRUE(repeated.ok()) << repeated.status();
    EXPECT_FALSE(repeated->inserted);
    EXPECT_EQ(repeated->generation.name(), NameOf("a"));
    EXPECT_EQ(repeated->generation.state(), v1::Generation::STATE_RUNNING) << "as it is now";
    const auto found = store_->FindRequest("local", "request", "hash");
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->SerializeAsString(), repeated->generation.SerializeAsString());
    ExpectReason(store_->FindRequest("local", "request", "other").status(),
                 absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED");
    for (const auto& [tenant, id] : {std::pair("local", "fresh"), std::pair("other", "request")}) {
      ExpectReason(store_->FindRequest(tenant, id, "hash").status(), absl::StatusCode::kNotFound,
                   "REQUEST_UNKNOWN");
    }
    ExpectReason(Create("c", "request", "other").status(), absl::StatusCode::kAlreadyExists,
                 "REQUEST_ID_REUSED");
    ExpectReason(store_->Get(NameOf("b")).status(), absl::StatusCode::kNotFound,
                 "GENERATION_NOT_FOUND");
    Reopen();
  }
  // Ids belong to tenants, and no id is no id.
  EXPECT_TRUE(Create("b", "request", "hash", "other")->inserted);
  EXPECT_TRUE(Create("c", "", "hash")->inserted);
  EXPECT_TRUE(Create("d", "", "hash")->inserted);
}

TEST_P(StoreContract, UpdateAppendsEvents) {
  CreateAll({"a", "b"});
  v1::Generation generation = *store_->Get(NameOf("a"));
  generation.set_state(v1::Generation::STATE_RUNNING);
  ASSERT_TRUE(store_->Update(generation, {MakeEvent(10), MakeEvent(20)}).ok());
  ASSERT_TRUE(store_->Update(generation, {MakeEvent(30)}).ok());
  ASSERT_TRUE(store_->Update(*store_->Get(NameOf("b")), {MakeEvent(15)}).ok());

  Reopen();
  EXPECT_EQ(store_->Get(NameOf("a"))->state(), v1::Generation::STATE_RUNNING);
  const auto sequences = [&](const std::string& id, int64_t after) {
    std::vector<int64_t> found;
    const auto events = store_->EventsAfter(NameOf(id), after);
    EXPECT_TRUE(events.ok()) << events.status();
    if (events.ok()) {
      for (const v1::GenerateEvent& event : *events) found.push_back(event.sequence());
    }
    return found;
  };
  EXPECT_THAT(sequences("a", 0), ElementsAre(10, 20, 30));
  EXPECT_THAT(sequences("a", 10), ElementsAre(20, 30));
  EXPECT_THAT(sequences("a", 19), ElementsAre(20, 30));
  EXPECT_THAT(sequences("a", 30), IsEmpty());
  EXPECT_THAT(sequences("b", 0), ElementsAre(15));
  ExpectReason(store_->EventsAfter(NameOf("c"), 0).status(), absl::StatusCode::kNotFound,
               "GENERATION_NOT_FOUND");
}

TEST_P(StoreContract, EventNumbersOnlyGrow) {
  CreateAll({"a"});
  v1::Generation generation = *store_->Get(NameOf("a"));
  ASSERT_TRUE(store_->Update(generation, {MakeEvent(10)}).ok());
  generation.set_state(v1::Generation::STATE_RUNNING);
  for (const auto& events :
       std::vector<std::vector<v1::GenerateEvent>>{{MakeEvent(10)},
                                                   {MakeEvent(9)},
                                                   {MakeEvent(11), MakeEvent(11)},
                                                   {MakeEvent(12), MakeEvent(11)},
                                                   {MakeEvent(0)},
                                                   {MakeEvent(-1)}}) {
    ExpectReason(store_->Update(generation, events), absl::StatusCode::kInvalidArgument,
                 "EVENTS_INVALID");
  }
  // A refused update changes nothing.
  EXPECT_EQ(store_->Get(NameOf("a"))->state(), v1::Generation::STATE_QUEUED);
  EXPECT_THAT(*store_->EventsAfter(NameOf("a"), 0), SizeIs(1));
  ExpectReason(store_->Update(MakeGeneration("b"), {}), absl::StatusCode::kNotFound,
               "GENERATION_NOT_FOUND");
}

TEST_P(StoreContract, KeepsTheNewestEvents) {
  CreateAll({"a"});
  const v1::Generation generation = *store_->Get(NameOf("a"));
  const int64_t kept = store_limits::kEventsPerGenerationMax;
  int64_t sequence = 0;
  for (int64_t i = 0; i < kept + 10; ++i) {
    ASSERT_TRUE(store_->Update(generation, {MakeEvent(++sequence)}).ok());
  }
  auto events = store_->EventsAfter(NameOf("a"), 0);
  ASSERT_TRUE(events.ok());
  ASSERT_THAT(*events, SizeIs(kept));
  EXPECT_EQ(events->front().sequence(), 11);
  EXPECT_EQ(events->back().sequence(), sequence);

  std::vector<v1::GenerateEvent> many;
  for (int64_t i = 0; i < kept; ++i) many.push_back(MakeEvent(++sequence));
  ASSERT_TRUE(store_->Update(generation, many).ok());
  events = store_->EventsAfter(NameOf("a"), 0);
  ASSERT_THAT(*events, SizeIs(kept));
  EXPECT_EQ(events->back().sequence(), sequence);
  many.push_back(MakeEvent(++sequence));
  for (v1::GenerateEvent& event : many) event.set_sequence(event.sequence() + sequence);
  ExpectReason(store_->Update(generation, many), absl::StatusCode::kInvalidArgument,
               "EVENTS_INVALID");
}

TEST_P(StoreContract, ListsNewestFirstInPages) {
  CreateAll({"a", "b", "c", "d", "e"});
  ASSERT_TRUE(Create("z", "", "", "other").ok());
  GenerationStore::ListQuery query{"local", {}, 2, ""};
  std::vector<std::vector<std::string>> pages;
  do {
    const auto page = store_->List(query);
    ASSERT_TRUE(page.ok()) << page.status();
    pages.push_back(Ids(page->generations));
    query.page_token = page->next_page_token;
    // Tokens survive a restart, and what is new does not move the pages that follow.
    Reopen();
    ASSERT_TRUE(Create(absl::StrCat("new", pages.size())).ok());
  } while (!query.page_token.empty() && pages.size() < 10);
  EXPECT_THAT(pages, ElementsAre(ElementsAre("e", "d"), ElementsAre("c", "b"), ElementsAre("a")));

  query = {"local", {}, 8, ""};
  const auto all = store_->List(query);
  EXPECT_THAT(all->generations, SizeIs(8));
  EXPECT_TRUE(all->next_page_token.empty()) << "exactly full is the last page";
  EXPECT_THAT(Ids(store_->List({"other", {}, 50, ""})->generations), ElementsAre("z"));
  EXPECT_THAT(store_->List({"nobody", {}, 50, ""})->generations, IsEmpty());
  EXPECT_THAT(store_->List({"local", {}, 0, ""})->generations, SizeIs(1)) << "clamped";
  EXPECT_THAT(store_->List({"local", {}, INT32_MAX, ""})->generations, SizeIs(8));
}

TEST_P(StoreContract, ListsByState) {
  CreateAll({"a", "b", "c", "d", "e", "f"});
  const absl::Time now = clock_.WallTime();
  ASSERT_TRUE(End("a", v1::Generation::STATE_FAILED, now).ok());
  ASSERT_TRUE(End("c", v1::Generation::STATE_SUCCEEDED, now).ok());
  ASSERT_TRUE(End("f", v1::Generation::STATE_FAILED, now).ok());
  const auto list = [&](std::vector<v1::Generation::State> states, int page_size) {
    GenerationStore::ListQuery query{"local", std::move(states), page_size, ""};
    std::vector<std::string> ids;
    for (int pages = 0; pages < 10; ++pages) {
      const auto page = store_->List(query);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      for (const std::string& id : Ids(page->generations)) ids.push_back(id);
      query.page_token = page->next_page_token;
      if (query.page_token.empty()) break;
    }
    return ids;
  };
  for (const int page_size : {1, 2, 50}) {
    EXPECT_THAT(list({v1::Generation::STATE_FAILED}, page_size), ElementsAre("f", "a"));
    EXPECT_THAT(list({v1::Generation::STATE_QUEUED}, page_size), ElementsAre("e", "d", "b"));
    EXPECT_THAT(list({v1::Generation::STATE_SUCCEEDED, v1::Generation::STATE_FAILED}, page_size),
                ElementsAre("f", "c", "a"));
    EXPECT_THAT(list({v1::Generation::STATE_FAILED, v1::Generation::STATE_FAILED}, page_size),
                ElementsAre("f", "a"));
    EXPECT_THAT(list({v1::Generation::STATE_RUNNING}, page_size), IsEmpty());
    EXPECT_THAT(list({static_cast<v1::Generation::State>(77)}, page_size), IsEmpty());
  }
}

TEST_P(StoreContract, RefusesForeignPageTokens) {
  CreateAll({"a", "b", "c"});
  ASSERT_TRUE(Create("a", "", "", "other").ok());
  const GenerationStore::ListQuery query{"local", {v1::Generation::STATE_QUEUED}, 1, ""};
  const std::string token = store_->List(query)->next_page_token;
  ASSERT_FALSE(token.empty());
  const auto expect_invalid = [&](GenerationStore::ListQuery changed) {
    ExpectReason(store_->List(changed).status(), absl::StatusCode::kInvalidArgument,
                 "PAGE_TOKEN_INVALID");
  };
  expect_invalid({"other", query.states, 1, token});
  expect_invalid({"local", {}, 1, token});
  expect_invalid({"local", {v1::Generation::STATE_RUNNING}, 1, token});
  expect_invalid({"local", query.states, 1, "x"});
  expect_invalid({"local", query.states, 1, token + token});
  expect_invalid({"local", query.states, 1, std::string(1 << 20, 'A')});
  expect_invalid({"local", query.states, 1, std::string("\0\xff", 2)});
  for (size_t i = 0; i < token.size(); ++i) {
    expect_invalid({"local", query.states, 1, token.substr(0, i) + token.substr(i + 1)});
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    // The last character may hold bits that mean nothing; any other place must matter.
    const auto page = store_->List({"local", query.states, 1, changed});
    if (page.ok()) {
      EXPECT_EQ(i, token.size() - 1);
      EXPECT_THAT(Ids(page->generations), ElementsAre("b"));
    }
  }
  // The size of pages is the client's to change.
  EXPECT_THAT(Ids(store_->List({"local", query.states, 5, token})->generations),
              ElementsAre("b", "a"));
}

TEST_P(StoreContract, EndsAPageBeforeItIsTooLargeToSend) {
  v1::Generation generation = MakeGeneration("a");
  generation.mutable_request()->set_prompt(std::string(200'000, 'p'));
  const int count = 40;
  for (int i = 0; i < count; ++i) {
    generation.set_name(NameOf(absl::StrCat("g", 100 + i)));
    ASSERT_TRUE(store_->Create({generation, "", ""}).ok());
  }
  GenerationStore::ListQuery query{"local", {}, 1000, ""};
  std::set<std::string> seen;
  int pages = 0;
  do {
    const auto page = store_->List(query);
    ASSERT_TRUE(page.ok());
    size_t bytes = 0;
    for (const v1::Generation& listed : page->generations) {
      bytes += listed.ByteSizeLong();
      seen.insert(listed.name());
    }
    EXPECT_LE(bytes, store_limits::kPageBytesMax + store_limits::kGenerationBytesMax);
    query.page_token = page->next_page_token;
    ++pages;
  } while (!query.page_token.empty() && pages < count);
  EXPECT_THAT(seen, SizeIs(count));
  EXPECT_EQ(pages, 3);
}

TEST_P(StoreContract, UnfinishedInOrderOfCreation) {
  // The order is that of the creates, whatever clocks made the ids.
  CreateAll({"m", "z", "a", "k"});
  ASSERT_TRUE(Create("b", "", "", "another").ok());
  ASSERT_TRUE(End("z", v1::Generation::STATE_CANCELLED, clock_.WallTime()).ok());
  v1::Generation running = *store_->Get(NameOf("a"));
  running.set_state(v1::Generation::STATE_RUNNING);
  ASSERT_TRUE(store_->Update(running, {}).ok());
  Reopen();
  EXPECT_THAT(Ids(*store_->Unfinished()), ElementsAre("m", "a", "k", "b"));
}

TEST_P(StoreContract, DeleteKeepsTheRequestId) {
  ASSERT_TRUE(Create("a", "request").ok());
  ASSERT_TRUE(store_->Update(*store_->Get(NameOf("a")), {MakeEvent(1)}).ok());
  ASSERT_TRUE(store_->Delete(NameOf("a")).ok());
  Reopen();
  ExpectReason(store_->Get(NameOf("a")).status(), absl::StatusCode::kNotFound,
               "GENERATION_NOT_FOUND");
  ExpectReason(store_->Delete(NameOf("a")), absl::StatusCode::kNotFound, "GENERATION_NOT_FOUND");
  ExpectReason(Create("b", "request").status(), absl::StatusCode::kAlreadyExists,
               "GENERATION_DELETED");
  ExpectReason(Create("b", "request", "other").status(), absl::StatusCode::kAlreadyExists,
               "REQUEST_ID_REUSED");
  ExpectReason(store_->FindRequest("local", "request", "hash").status(),
               absl::StatusCode::kAlreadyExists, "GENERATION_DELETED");
  EXPECT_THAT(*store_->Unfinished(), IsEmpty());
  // A new generation of that name does not inherit events.
  ASSERT_TRUE(Create("a").ok());
  EXPECT_THAT(*store_->EventsAfter(NameOf("a"), 0), IsEmpty());
  ASSERT_TRUE(store_->Update(*store_->Get(NameOf("a")), {MakeEvent(1)}).ok());
}

TEST_P(StoreContract, PurgesWhatEndedLongAgo) {
  CreateAll({"a", "b", "c", "d", "e"});
  const absl::Time start = clock_.WallTime();
  ASSERT_TRUE(End("c", v1::Generation::STATE_FAILED, start + absl::Hours(1)).ok());
  ASSERT_TRUE(End("a", v1::Generation::STATE_SUCCEEDED, start + absl::Hours(2)).ok());
  ASSERT_TRUE(End("e", v1::Generation::STATE_CANCELLED, start + absl::Hours(3)).ok());
  EXPECT_THAT(*store_->PurgeEnded(start + absl::Hours(1), 10), IsEmpty()) << "not before";
  EXPECT_THAT(*store_->PurgeEnded(start + absl::Hours(9), 0), IsEmpty());
  EXPECT_THAT(*store_->PurgeEnded(start + absl::Hours(9), -1), IsEmpty());
  EXPECT_THAT(*store_->PurgeEnded(start + absl::Hours(9), 2),
              ElementsAre(NameOf("c"), NameOf("a")));
  Reopen();
  EXPECT_THAT(*store_->PurgeEnded(start + absl::Hours(9), 2), ElementsAre(NameOf("e")));
  EXPECT_THAT(*store_->PurgeEnded(start + absl::Hours(9), 2), IsEmpty());
  EXPECT_THAT(Ids(store_->List({"local", {}, 50, ""})->generations), ElementsAre("d", "b"));
}

TEST_P(StoreContract, RequestIdsLiveForADayAndThenGo) {
  ASSERT_TRUE(Create("a", "of-purged").ok());
  ASSERT_TRUE(Create("b", "of-live").ok());
  ASSERT_TRUE(Create("c", "of-deleted").ok());
  const absl::Time start = clock_.WallTime();
  ASSERT_TRUE(End("a", v1::Generation::STATE_SUCCEEDED, start).ok());
  ASSERT_TRUE(store_->Delete(NameOf("c")).ok());

  // With a retention of an hour the generation goes, its request id stays.
  clock_.Advance(absl::Hours(2));
  EXPECT_THAT(*store_->PurgeEnded(clock_.WallTime() - absl::Hours(1), 100),
              ElementsAre(NameOf("a")));
  clock_.Advance(store_limits::kRequestIdLifetime - absl::Hours(2));
  ASSERT_TRUE(store_->PurgeEnded(start, 100).ok());
  Reopen();
  for (const char* id : {"of-purged", "of-deleted"}) {
    ExpectReason(Create("x", id).status(), absl::StatusCode::kAlreadyExists, "GENERATION_DELETED");
  }
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(store_->PurgeEnded(start, 1).ok()) << "bounded, so one of the two goes";
  const int left =
      (Create("x", "of-purged").ok() ? 0 : 1) + (Create("y", "of-deleted").ok() ? 0 : 1);
  EXPECT_EQ(left, 1);
  ASSERT_TRUE(store_->PurgeEnded(start, 1).ok());
  EXPECT_TRUE(Create("x2", "of-purged").ok());
  EXPECT_TRUE(Create("y2", "of-deleted").ok());
  // While its generation lives a request id attaches, however old.
  clock_.Advance(absl::Hours(1000));
  ASSERT_TRUE(store_->PurgeEnded(start, 100).ok());
  EXPECT_FALSE(Create("z", "of-live")->inserted);
}

TEST_P(StoreContract, GroupCommitKeepsTheGoodOnes) {
  CreateAll({"a"});
  const absl::Status committed = store_->Transact([&] {
    EXPECT_TRUE(Create("b", "request").ok());
    ExpectReason(Create("a").status(), absl::StatusCode::kAlreadyExists, "GENERATION_EXISTS");
    ExpectReason(Create("c", "request", "other").status(), absl::StatusCode::kAlreadyExists,
                 "REQUEST_ID_REUSED");
    ExpectReason(store_->Update(MakeGeneration("nothing"), {MakeEvent(1)}),
                 absl::StatusCode::kNotFound, "GENERATION_NOT_FOUND");
    ExpectReason(store_->Update(*store_->Get(NameOf("a")), {MakeEvent(2), MakeEvent(1)}),
                 absl::StatusCode::kInvalidArgument, "EVENTS_INVALID");
    EXPECT_FALSE(Create("d", "request")->inserted) << "seen within the group";
    EXPECT_TRUE(store_->Update(*store_->Get(NameOf("a")), {MakeEvent(1)}).ok());
    EXPECT_TRUE(Create("e").ok());
    return absl::OkStatus();
  });
  ASSERT_TRUE(committed.ok()) << committed;
  Reopen();
  EXPECT_THAT(Ids(*store_->Unfinished()), ElementsAre("a", "b", "e"));
  EXPECT_THAT(*store_->EventsAfter(NameOf("a"), 0), SizeIs(1));
}

TEST_P(StoreContract, FailedTransactionWritesNothing) {
  CreateAll({"a", "b"});
  const absl::Time now = clock_.WallTime();
  ASSERT_TRUE(store_->Update(*store_->Get(NameOf("b")), {MakeEvent(1)}).ok());
  const absl::Status status = store_->Transact([&]() -> absl::Status {
    EXPECT_TRUE(Create("c", "request").ok());
    EXPECT_TRUE(End("a", v1::Generation::STATE_FAILED, now).ok());
    EXPECT_TRUE(store_->Update(*store_->Get(NameOf("b")), {MakeEvent(2)}).ok());
    EXPECT_TRUE(store_->Delete(NameOf("b")).ok());
    EXPECT_TRUE(store_->NextBoot().ok());
    EXPECT_TRUE(store_->PurgeEnded(now + absl::Hours(1), 10).ok());
    return absl::AbortedError("changed my mind");
  });
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_THAT(Ids(*store_->Unfinished()), ElementsAre("a", "b"));
  EXPECT_THAT(*store_->EventsAfter(NameOf("b"), 0), SizeIs(1));
  EXPECT_EQ(*store_->NextBoot(), 1);
  EXPECT_TRUE(Create("c", "request", "another hash")->inserted);
}

TEST_P(StoreContract, TransactionsDoNotNest) {
  const absl::Status status = store_->Transact([&] {
    EXPECT_TRUE(absl::IsInternal(store_->Transact([] { return absl::OkStatus(); })));
    EXPECT_TRUE(Create("a").ok());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(store_->Get(NameOf("a")).ok());
}

TEST_P(StoreContract, BootsCountUp) {
  EXPECT_EQ(*store_->NextBoot(), 1);
  EXPECT_EQ(*store_->NextBoot(), 2);
  Reopen();
  EXPECT_EQ(*store_->NextBoot(), 3);
}

}  // namespace
}  // namespace darkroom
