#include "engine/event_hub.h"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/limits.h"
#include "engine/work_queue.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

constexpr char kName[] = "tenants/t/generations/g";

std::shared_ptr<const v1::GenerateEvent> Progress(int64_t sequence, int output, int step) {
  auto event = std::make_shared<v1::GenerateEvent>();
  event->set_sequence(sequence);
  event->mutable_progress()->set_output_index(output);
  event->mutable_progress()->set_step(step);
  return event;
}

std::shared_ptr<const v1::GenerateEvent> Preview(int64_t sequence, int output, int step) {
  auto event = std::make_shared<v1::GenerateEvent>();
  event->set_sequence(sequence);
  event->mutable_preview()->set_output_index(output);
  event->mutable_preview()->set_step(step);
  return event;
}

std::shared_ptr<const v1::GenerateEvent> Queued(int64_t sequence) {
  auto event = std::make_shared<v1::GenerateEvent>();
  event->set_sequence(sequence);
  event->mutable_queued();
  return event;
}

std::shared_ptr<const v1::GenerateEvent> Completed(int64_t sequence) {
  auto event = std::make_shared<v1::GenerateEvent>();
  event->set_sequence(sequence);
  event->mutable_completed();
  return event;
}

class EventHubTest : public ::testing::Test {
 protected:
  // Notifications run when the test says so.
  void RunNotifications() {
    for (auto& work : std::exchange(notifications_, {})) work();
  }
  std::unique_ptr<EventStream> Watch(int64_t after, bool attached = false) {
    return hub_.Watch(kName, after, attached, [this] { ++woken_; });
  }
  // Sequence numbers that the stream gives now.
  static std::vector<int64_t> Read(EventStream& stream) {
    std::vector<int64_t> sequences;
    std::shared_ptr<const v1::GenerateEvent> event;
    while (stream.TryNext(event) == EventStream::Next::kEvent) {
      sequences.push_back(event->sequence());
    }
    return sequences;
  }

  std::vector<absl::AnyInvocable<void()>> notifications_;
  std::vector<std::pair<std::string, bool>> attachments_;
  int woken_ = 0;
  EventHub hub_{
      [this](absl::AnyInvocable<void()> work) { notifications_.push_back(std::move(work)); },
      [this](const std::string& name, bool attached) {
        attachments_.emplace_back(name, attached);
      }};
};

TEST_F(EventHubTest, GivesEverythingKeptAndOnlyTheLatestProgress) {
  hub_.Open(kName, {});
  hub_.Publish(kName, Queued(1), false);
  for (int step = 1; step <= 50; ++step) hub_.Publish(kName, Progress(1 + step, 0, step), true);
  hub_.Publish(kName, Progress(52, 1, 7), true);
  auto stream = Watch(0);
  EXPECT_THAT(Read(*stream), ::testing::ElementsAre(1, 51, 52));
  EXPECT_EQ(hub_.StepsDone(kName), 57);
  hub_.Publish(kName, Completed(60), false);
  hub_.Close(kName);
  EXPECT_THAT(Read(*stream), ::testing::ElementsAre(60));
  std::shared_ptr<const v1::GenerateEvent> event;
  EXPECT_EQ(stream->TryNext(event), EventStream::Next::kEnded);
}

TEST_F(EventHubTest, ALateWatcherSeesTheLatestPreviewOfEachOutputBesideItsProgress) {
  hub_.Open(kName, {});
  for (int step = 1; step <= 20; ++step) {
    hub_.Publish(kName, Progress(10 * step, 0, step), true);
    if (step % 4 == 0) hub_.Publish(kName, Preview(10 * step + 1, step % 8 / 4, step), true);
  }
  EXPECT_THAT(Read(*Watch(0)), ::testing::ElementsAre(161, 200, 201));
  EXPECT_EQ(hub_.StepsDone(kName), 20) << "previews are no steps";
}

TEST_F(EventHubTest, StartsAfterTheSequenceAskedFor) {
  hub_.Open(kName, {*Queued(3), *Queued(5)});
  hub_.Publish(kName, Queued(9), false);
  EXPECT_THAT(Read(*Watch(3)), ::testing::ElementsAre(5, 9));
  EXPECT_THAT(Read(*Watch(9)), ::testing::IsEmpty());
}

TEST_F(EventHubTest, WakesAWatcherOnceAndOnlyWhenItWaits) {
  hub_.Open(kName, {});
  auto stream = Watch(0);
  hub_.Publish(kName, Queued(1), false);
  RunNotifications();
  EXPECT_EQ(woken_, 0) << "it had not asked yet";
  Read(*stream);
  hub_.Publish(kName, Queued(2), false);
  hub_.Publish(kName, Queued(3), false);
  RunNotifications();
  EXPECT_EQ(woken_, 1);
  Read(*stream);
  hub_.Close(kName);
  RunNotifications();
  EXPECT_EQ(woken_, 2);
}

TEST_F(EventHubTest, NeverWakesAStreamThatIsGone) {
  hub_.Open(kName, {});
  auto stream = Watch(0);
  Read(*stream);
  hub_.Publish(kName, Queued(1), false);
  stream.reset();
  RunNotifications();
  EXPECT_EQ(woken_, 0);
}

TEST_F(EventHubTest, TellsWhenTheLastAttachedStreamGoesAndWhenOneComesBack) {
  hub_.Open(kName, {});
  auto plain = Watch(0);
  EXPECT_THAT(attachments_, ::testing::IsEmpty());
  auto first = Watch(0, true);
  auto second = Watch(0, true);
  first.reset();
  EXPECT_EQ(attachments_.size(), 1u);
  second.reset();
  auto third = Watch(0, true);
  EXPECT_THAT(attachments_, ::testing::ElementsAre(std::pair<std::string, bool>(kName, true),
                                                   std::pair<std::string, bool>(kName, false),
                                                   std::pair<std::string, bool>(kName, true)));
  hub_.Close(kName);
  third.reset();
  EXPECT_EQ(attachments_.size(), 3u) << "nobody is missed after the end";
}

TEST_F(EventHubTest, KeepsABoundedNumberAndNeverDropsTheEnd) {
  hub_.Open(kName, {});
  hub_.Publish(kName, Queued(1), false);
  hub_.Publish(kName, Completed(2), false);
  for (int i = 3; i < 3 + 2 * kTopicEventsMax; ++i) hub_.Publish(kName, Queued(i), false);
  const auto seen = Read(*Watch(0));
  EXPECT_EQ(seen.size(), static_cast<size_t>(kTopicEventsMax));
  EXPECT_THAT(seen, ::testing::Contains(2));
}

TEST_F(EventHubTest, AnUnknownGenerationIsNotLive) { EXPECT_EQ(Watch(0), nullptr); }

TEST_F(EventHubTest, ReplaysWhatTheStoreKept) {
  auto stream = EventHub::Replay({*Queued(1), *Completed(4)});
  EXPECT_THAT(Read(*stream), ::testing::ElementsAre(1, 4));
}

// Watchers come, read, and go on their own threads, also from inside their wake-up, while events
// are published. For the thread sanitizer.
TEST(EventHubThreadsTest, StandsCrowds) {
  WorkQueue notifier(1, 1 << 16);
  std::atomic<int> changes{0};
  EventHub hub([&](absl::AnyInvocable<void()> work) { notifier.Post(std::move(work)); },
               [&](const std::string&, bool) { ++changes; });
  hub.Open(kName, {});
  std::vector<std::thread> watchers;
  for (int i = 0; i < 4; ++i) {
    watchers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        std::atomic<bool> woken{false};
        auto stream = hub.Watch(kName, 0, true, [&] { woken = true; });
        if (stream == nullptr) return;
        std::shared_ptr<const v1::GenerateEvent> event;
        while (stream->TryNext(event) == EventStream::Next::kEvent) {
        }
        stream.reset();
      }
    });
  }
  for (int i = 1; i <= 500; ++i) hub.Publish(kName, Progress(i, 0, i), true);
  for (auto& watcher : watchers) watcher.join();
  hub.Close(kName);
  EXPECT_EQ(changes % 2, 0);
}

}  // namespace
}  // namespace darkroom::engine
