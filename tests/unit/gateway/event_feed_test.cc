#include "gateway/event_feed.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_engine.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A client whose reading the test controls.
class FakeSink final : public EventSink {
 public:
  void Send(const v1::GenerateEvent& event) override {
    MutexLock lock(mutex_);
    EXPECT_FALSE(sending_) << "a second event while one is being sent";
    EXPECT_FALSE(end_.has_value()) << "an event after the end";
    sending_ = true;
    events_.push_back(event);
    changed_.NotifyAll();
  }
  void End(const absl::Status& status) override {
    MutexLock lock(mutex_);
    EXPECT_FALSE(sending_) << "the end while an event is being sent";
    EXPECT_FALSE(end_.has_value()) << "a second end";
    end_ = status;
    changed_.NotifyAll();
  }

  // Waits for `count` events in all.
  void AwaitEvents(size_t count) {
    MutexLock lock(mutex_);
    while (events_.size() < count) changed_.Wait(mutex_);
  }
  // The client has read the event.
  void Take(EventFeed& feed, bool ok = true) {
    {
      MutexLock lock(mutex_);
      ASSERT_TRUE(sending_);
      sending_ = false;
    }
    feed.OnSent(ok);
  }
  // Reads everything to the end.
  absl::Status Drain(EventFeed& feed) {
    while (true) {
      {
        MutexLock lock(mutex_);
        while (!sending_ && !end_.has_value()) changed_.Wait(mutex_);
        if (end_.has_value()) return *end_;
      }
      Take(feed);
    }
  }
  absl::Status AwaitEnd() {
    MutexLock lock(mutex_);
    while (!end_.has_value()) changed_.Wait(mutex_);
    return *end_;
  }
  bool ended() {
    MutexLock lock(mutex_);
    return end_.has_value();
  }
  std::vector<v1::GenerateEvent> events() {
    MutexLock lock(mutex_);
    return events_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool sending_ = false;
  std::vector<v1::GenerateEvent> events_;
  std::optional<absl::Status> end_;
};

Engine::Submit SubmitOf(Engine::Abandon abandon = Engine::Abandon::kCancelNow) {
  Engine::Submit submit;
  submit.tenant = "local";
  submit.request.set_num_images(1);
  submit.request.mutable_sampling()->set_steps(2);
  submit.abandon = abandon;
  return submit;
}

FakeEngine::Options Manual(int64_t output_bytes = 1000) {
  FakeEngine::Options options;
  options.automatic = false;
  options.output_bytes = output_bytes;
  return options;
}

constexpr char kFirst[] = "tenants/local/generations/g00000001";

std::string Kinds(const std::vector<v1::GenerateEvent>& events) {
  std::string kinds;
  for (const auto& event : events) absl::StrAppend(&kinds, "", event.event_case(), " ");
  return kinds;
}

// The bytes of output 0 as they came, checking order and ends of the chunks.
std::string Output(const std::vector<v1::GenerateEvent>& events) {
  std::string bytes;
  for (const auto& event : events) {
    if (!event.has_output_chunk() || event.output_chunk().output_index() != 0) continue;
    EXPECT_EQ(event.output_chunk().offset(), static_cast<int64_t>(bytes.size()));
    EXPECT_LE(event.output_chunk().data().size(), size_t{1} << 20);
    bytes += event.output_chunk().data();
  }
  return bytes;
}

TEST(EventFeedTest, WholeLifeInOrder) {
  FakeEngine engine;
  FakeSink sink;
  const auto feed = EventFeed::Create(engine, sink);
  feed->StartSubmit(SubmitOf());
  EXPECT_TRUE(sink.Drain(*feed).ok());
  const auto events = sink.events();
  ASSERT_GE(events.size(), 4);
  EXPECT_TRUE(events.front().has_queued());
  EXPECT_TRUE(events.back().has_completed()) << Kinds(events);
  EXPECT_EQ(Output(events), FakeEngine::OutputBytes(1000, 0));
  for (size_t i = 1; i < events.size(); ++i) {
    EXPECT_GT(events[i].sequence(), events[i - 1].sequence());
  }
  EXPECT_EQ(engine.open_streams(), 0);
  EXPECT_THAT(engine.abandoned(), IsEmpty());
}

TEST(EventFeedTest, LargeOutputComesInChunksWithReservedSequenceNumbers) {
  for (const int64_t size :
       {int64_t{0}, int64_t{1}, int64_t{1} << 20, (int64_t{1} << 20) + 1, (int64_t{3} << 20) - 1}) {
    FakeEngine engine(Manual(size));
    FakeSink sink;
    const auto feed = EventFeed::Create(engine, sink);
    feed->StartSubmit(SubmitOf());
    sink.AwaitEvents(1);
    engine.Finish(kFirst);
    ASSERT_TRUE(sink.Drain(*feed).ok());
    const auto events = sink.events();
    EXPECT_EQ(Output(events), FakeEngine::OutputBytes(size, 0));
    const int64_t chunks = std::max<int64_t>(1, (size + (1 << 20) - 1) >> 20);
    ASSERT_EQ(static_cast<int64_t>(events.size()), 2 + chunks);
    for (int64_t k = 0; k < chunks; ++k) {
      EXPECT_EQ(events[1 + k].sequence(), 2 + k);
      EXPECT_EQ(events[1 + k].output_chunk().last(), k == chunks - 1);
    }
    EXPECT_EQ(events.back().sequence(), 2 + chunks);
  }
}

TEST(EventFeedTest, ResumesAnywhereEvenInsideAnOutput) {
  FakeEngine engine(Manual((3 << 20) + 5));
  {
    FakeSink sink;
    const auto feed = EventFeed::Create(engine, sink);
    feed->StartSubmit(SubmitOf());
    sink.AwaitEvents(1);
    engine.Finish(kFirst);
    ASSERT_TRUE(sink.Drain(*feed).ok());
    ASSERT_THAT(sink.events(), SizeIs(6));  // queued, 4 chunks, completed: sequences 1 to 6
  }
  for (int64_t after = 0; after <= 7; ++after) {
    FakeSink sink;
    const auto feed = EventFeed::Create(engine, sink);
    feed->StartWatch(kFirst, after);
    ASSERT_TRUE(sink.Drain(*feed).ok());
    const auto events = sink.events();
    ASSERT_EQ(static_cast<int64_t>(events.size()), std::max<int64_t>(0, 6 - after)) << after;
    for (size_t i = 0; i < events.size(); ++i) {
      EXPECT_EQ(events[i].sequence(), after + 1 + static_cast<int64_t>(i));
      if (events[i].has_output_chunk()) {
        EXPECT_EQ(events[i].output_chunk().offset(), (events[i].sequence() - 2) << 20);
      }
    }
  }
}

TEST(EventFeedTest, ClientThatDoesNotReadCostsOneEvent) {
  FakeEngine engine(Manual(5 << 20));
  FakeSink sink;
  const auto feed = EventFeed::Create(engine, sink);
  feed->StartSubmit(SubmitOf());
  sink.AwaitEvents(1);
  engine.Start(kFirst);
  for (int i = 0; i < 1000; ++i) engine.Step(kFirst);
  engine.Finish(kFirst);
  EXPECT_EQ(engine.events_taken(), 1);
  EXPECT_EQ(engine.outputs_read(), 0);
  // Once it reads again, it gets the latest progress and everything that is kept.
  EXPECT_TRUE(sink.Drain(*feed).ok());
  const auto events = sink.events();
  ASSERT_THAT(events, SizeIs(1 + 1 + 1 + 5 + 1));
  EXPECT_TRUE(events[2].has_progress());
  EXPECT_EQ(events[2].sequence(), 1002);
}

TEST(EventFeedTest, VanishedClientLetsGoOfTheStreamAtOnce) {
  FakeEngine engine(Manual());
  FakeSink sink;
  const auto feed = EventFeed::Create(engine, sink);
  feed->StartSubmit(SubmitOf());
  sink.AwaitEvents(1);
  feed->OnCancelled();
  // At once, or when the engine's thread is through with the step it is in.
  while (engine.open_streams() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_THAT(engine.abandoned(), ElementsAre(kFirst));
  // The transport still owes the answer to the event that was being sent.
  EXPECT_FALSE(sink.ended());
  sink.Take(*feed, /*ok=*/false);
  EXPECT_EQ(sink.AwaitEnd().code(), absl::StatusCode::kCancelled);
}

TEST(EventFeedTest, ClientGoneBeforeTheGenerationExistsStillAbandonsIt) {
  FakeEngine engine(Manual());
  FakeSink sink;
  const auto feed = EventFeed::Create(engine, sink);
  engine.HoldCallbacks();
  feed->StartSubmit(SubmitOf());
  feed->OnCancelled();
  EXPECT_TRUE(sink.ended());
  engine.ReleaseCallbacks();
  while (engine.abandoned().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_THAT(engine.abandoned(), ElementsAre(kFirst));
  EXPECT_EQ(engine.open_streams(), 0);
}

TEST(EventFeedTest, FailedWatchCancelsWhatNobodyWouldAbandon) {
  FakeEngine engine(Manual());
  engine.FailWatches(Error(absl::StatusCode::kResourceExhausted, "WATCHERS_TOO_MANY", "full"));
  {
    FakeSink sink;
    const auto feed = EventFeed::Create(engine, sink);
    feed->StartSubmit(SubmitOf(Engine::Abandon::kCancelAfterGrace));
    EXPECT_EQ(ErrorReason(sink.AwaitEnd()), "WATCHERS_TOO_MANY");
    EXPECT_THAT(engine.cancelled(), IsEmpty());
  }
  FakeSink sink;
  const auto feed = EventFeed::Create(engine, sink);
  feed->StartSubmit(SubmitOf(Engine::Abandon::kCancelNow));
  EXPECT_EQ(ErrorReason(sink.AwaitEnd()), "WATCHERS_TOO_MANY");
  EXPECT_THAT(engine.cancelled(), ElementsAre("tenants/local/generations/g00000002"));
}

TEST(EventFeedTest, EngineErrorsEndTheStream) {
  FakeEngine engine(Manual());
  engine.RefuseSubmissions(Error(absl::StatusCode::kUnavailable, "DRAINING", "draining"));
  {
    FakeSink sink;
    const auto feed = EventFeed::Create(engine, sink);
    feed->StartSubmit(SubmitOf());
    EXPECT_EQ(ErrorReason(sink.AwaitEnd()), "DRAINING");
  }
  engine.RefuseSubmissions(absl::OkStatus());
  engine.FailReads(absl::InternalError("cannot open /secret/path"));
  FakeSink sink;
  const auto feed = EventFeed::Create(engine, sink);
  feed->StartSubmit(SubmitOf());
  sink.AwaitEvents(1);
  engine.Finish(kFirst);
  const absl::Status status = sink.Drain(*feed);
  EXPECT_EQ(ErrorReason(status), "INTERNAL");
  EXPECT_EQ(status.ToString().find("secret"), std::string::npos);
  EXPECT_EQ(engine.open_streams(), 0);
}

// What a transport does with one stream: reads it on a thread of its own, and hangs up on another
// after some events. gRPC's own tests cannot run under ThreadSanitizer, as the packaged library is
// not instrumented; this one can.
TEST(EventFeedTest, ManyFeedsWithRandomHangUps) {
  constexpr int kThreads = 8;
  constexpr int kFeedsPerThread = 25;
  FakeEngine engine;
  std::atomic<int> completed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < kFeedsPerThread; ++i) {
        FakeSink sink;
        const auto feed = EventFeed::Create(engine, sink);
        feed->StartSubmit(SubmitOf());
        std::thread hang_up;
        if (i % 2 == 0) {
          hang_up = std::thread([feed, delay_us = random() % 300] {
            std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
            feed->OnCancelled();
          });
        }
        const absl::Status status = sink.Drain(*feed);
        if (hang_up.joinable()) hang_up.join();
        if (status.ok()) {
          EXPECT_TRUE(sink.events().back().has_completed());
          ++completed;
        } else {
          EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  // Which come first, the events or the hang-up, is left to chance; neither always does.
  EXPECT_GT(completed, 0);
  // A feed that was hung up on before it was attached attaches later, and leaves at once.
  while (engine.open_streams() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(EventFeedTest, SingleEventThenTheEnd) {
  FakeEngine engine;
  FakeSink sink;
  const auto feed = EventFeed::Create(engine, sink);
  v1::GenerateEvent event;
  event.mutable_queued();
  feed->StartSingle(event);
  EXPECT_TRUE(sink.Drain(*feed).ok());
  EXPECT_THAT(sink.events(), SizeIs(1));
}

}  // namespace
}  // namespace darkroom
