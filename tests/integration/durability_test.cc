// kill -9 of the daemon under load, again and again on the same store: whatever was acknowledged is
// there afterwards, once, and comes to its end. DARKROOM_KILLS sets how often (default 20).

#include <atomic>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/pictures.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

constexpr int kClients = 8;

int Kills() {
  const char* kills = std::getenv("DARKROOM_KILLS");
  return kills == nullptr ? 20 : std::atoi(kills);
}

// What the clients know: intents and acknowledgements, kept outside the daemon.
class Journal {
 public:
  // A request id that nobody used.
  std::string NewRequestId() { return absl::StrFormat("00000000-0000-4000-8000-%012d", ++last_); }
  void Acknowledged(const std::string& request_id, const std::string& name) {
    MutexLock lock(mutex_);
    const auto [it, first] = names_.emplace(request_id, name);
    if (!first && it->second != name) ++doubled_;
  }
  std::map<std::string, std::string> names() {
    MutexLock lock(mutex_);
    return names_;
  }
  int doubled() {
    MutexLock lock(mutex_);
    return doubled_;
  }

 private:
  std::atomic<int> last_{0};
  Mutex mutex_;
  std::map<std::string, std::string> names_ ABSL_GUARDED_BY(mutex_);
  int doubled_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What a client asks for under `request_id`: every other time it brings a picture and a mask.
v1::GenerateRequest RequestOf(const std::string& request_id) {
  v1::GenerateRequest request = PictureRequest("a", 64, 8, 1);
  request.set_request_id(request_id);
  if ((request_id.back() - '0') % 2 == 0) return request;
  request.mutable_sampling()->set_strength(0.75);
  v1::InputImage& init = *request.add_inputs();
  init.set_role(v1::INPUT_ROLE_INIT);
  init.set_data(MakePng({64, 64}));
  v1::InputImage& mask = *request.add_inputs();
  mask.set_role(v1::INPUT_ROLE_MASK);
  mask.set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED);
  mask.set_data(MakePng({64, 64, PNG_COLOR_TYPE_GRAY}));
  return request;
}

class DurabilityTest : public ::testing::Test {
 protected:
  DurabilityTest()
      : daemon_({folder_.Path("fake"),
                 folder_.Path("state"),
                 true,
                 {"--checkpoint-steps", "2"},
                 {{"DARKROOM_FAKE_STEP_US", "1000"}, {"DARKROOM_FAKE_PROBE_US", "0"}}}) {}

  // Asks until told to stop, wherever the daemon is now; what was not acknowledged is asked again
  // with the same id.
  void RunClient(unsigned seed) {
    std::mt19937 random(seed);
    std::string at;
    std::unique_ptr<Client> client;
    std::string pending;
    while (!stop_) {
      {
        MutexLock lock(server_mutex_);
        if (at != server_ || client == nullptr) client = std::make_unique<Client>(at = server_);
      }
      if (pending.empty()) pending = journal_.NewRequestId();
      const auto made = client->CreateGeneration(RequestOf(pending));
      if (made.ok()) {
        journal_.Acknowledged(pending, made->name());
        // Sometimes the answer is lost on the way and the client asks again.
        if (random() % 4 != 0) pending.clear();
      }
      absl::SleepFor(absl::Milliseconds(1 + random() % 8));
    }
  }

  // Kills and starts the daemon; the slowest start.
  absl::Duration KillAgainAndAgain(int kills) {
    std::mt19937 random(1);
    absl::Duration slowest;
    for (int kill = 0; kill < kills; ++kill) {
      absl::SleepFor(absl::Milliseconds(20 + random() % 200));
      daemon_.Kill();
      const absl::Time start = absl::Now();
      daemon_.Start(random() % 2 == 0);
      if (HasFatalFailure()) break;
      slowest = std::max(slowest, absl::Now() - start);
      MutexLock lock(server_mutex_);
      server_ = daemon_.server();
    }
    return slowest;
  }

  v1::Generation AwaitEnd(const std::string& name) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (true) {
      const auto got = daemon_.client().GetGeneration(name, false);
      EXPECT_TRUE(got.ok()) << name << " is lost: " << got.status();
      if (!got.ok() || got->state() == v1::Generation::STATE_SUCCEEDED || absl::Now() > deadline) {
        return got.ok() ? *got : v1::Generation();
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  // Generations by request id, from the whole list.
  std::map<std::string, int> CountByRequestId() {
    std::map<std::string, int> counts;
    v1::ListGenerationsRequest list;
    list.set_page_size(1000);
    do {
      const auto page = daemon_.client().ListGenerations(list);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      for (const auto& generation : page->generations()) {
        ++counts[generation.request().request_id()];
      }
      list.set_page_token(page->next_page_token());
    } while (!list.page_token().empty());
    return counts;
  }

  TempFolder folder_;
  DaemonProcess daemon_;
  Journal journal_;
  std::atomic<bool> stop_{false};
  Mutex server_mutex_;
  std::string server_ ABSL_GUARDED_BY(server_mutex_);
};

TEST_F(DurabilityTest, NothingAcknowledgedIsLostOrDoubled) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  {
    MutexLock lock(server_mutex_);
    server_ = daemon_.server();
  }
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([this, i] { RunClient(static_cast<unsigned>(i)); });
  }
  const absl::Duration slowest = KillAgainAndAgain(Kills());
  stop_ = true;
  for (auto& client : clients) client.join();
  ASSERT_FALSE(HasFailure());

  const auto acknowledged = journal_.names();
  EXPECT_GT(acknowledged.size(), static_cast<size_t>(Kills()));
  EXPECT_EQ(journal_.doubled(), 0);
  std::map<std::string, int> names;
  std::map<int, std::string> sha256;  // by the number of pictures it began with
  for (const auto& [request_id, name] : acknowledged) {
    EXPECT_EQ(++names[name], 1) << "one generation for two requests";
    const v1::Generation generation = AwaitEnd(name);
    ASSERT_EQ(generation.state(), v1::Generation::STATE_SUCCEEDED) << generation.ShortDebugString();
    ASSERT_EQ(generation.outputs_size(), 1);
    const int pictures = generation.request().inputs_size();
    const auto first = sha256.emplace(pictures, generation.outputs(0).sha256()).first;
    EXPECT_EQ(generation.outputs(0).sha256(), first->second) << "a crash changed the bits";
  }
  EXPECT_EQ(sha256.size(), 2u) << "with pictures and without";
  const auto counts = CountByRequestId();
  for (const auto& [request_id, count] : counts) EXPECT_EQ(count, 1) << request_id << " is doubled";
  EXPECT_GE(counts.size(), acknowledged.size());
  std::printf("kills %d, acknowledged %zu, lost 0, doubled 0, slowest start %s\n", Kills(),
              acknowledged.size(), absl::FormatDuration(slowest).c_str());
  EXPECT_EQ(daemon_.Terminate(absl::Seconds(30)), 0);
}

TEST(DrainTest, FinishesWhatWasAccepted) {
  TempFolder folder;
  DaemonProcess daemon({folder.Path("fake"),
                        folder.Path("state"),
                        true,
                        {"--drain-seconds-max", "4"},
                        {{"DARKROOM_FAKE_STEP_US", "20000"}}});
  ASSERT_NO_FATAL_FAILURE(daemon.Start());
  // The time that a drain may take begins with the drain, however long the daemon ran before.
  absl::SleepFor(absl::Seconds(4));
  constexpr int kClients = 6;
  std::vector<std::thread> clients;
  std::atomic<int> finished{0};
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      Client client(daemon.server());
      const auto made = GenerateAndWait(client, PictureRequest("a", 64, 20, i));
      finished += made.ok() && made->state() == v1::Generation::STATE_SUCCEEDED;
    });
  }
  while (daemon.client().ListGenerations({})->generations_size() < kClients) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(finished, 0);
  EXPECT_EQ(daemon.Terminate(absl::Seconds(30)), 0);
  for (auto& client : clients) client.join();
  EXPECT_EQ(finished, kClients) << daemon.log();
}

}  // namespace
}  // namespace darkroom::testing
