#include "engine/worker_fleet.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "engine/limits.h"
#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

FleetConfig OneModel() {
  FleetConfig config;
  config.models = {{"models/a", "/a"}};
  return config;
}

v1::FromWorker Loaded(const absl::Status& status) {
  v1::FromWorker message;
  *message.mutable_model_loaded()->mutable_status() = ToProto(status);
  message.mutable_model_loaded()->set_token_pixels(8);
  message.mutable_model_loaded()->set_knee_tokens(256);
  return message;
}

class WorkerFleetTest : public ::testing::Test {
 protected:
  // Ids of the workers that are started now.
  std::vector<WorkerId> Started(int64_t now_ns) {
    Commands commands;
    fleet_.StartDue(now_ns, commands);
    std::vector<WorkerId> ids;
    for (const auto& command : commands) ids.push_back(std::get<StartWorker>(command).worker);
    return ids;
  }
  bool Ready(WorkerId id) {
    Commands commands;
    return fleet_.OnMessage({id, Loaded(absl::OkStatus()), {}}, 0, commands).has_value();
  }

  WorkerFleet fleet_{OneModel()};
};

TEST_F(WorkerFleetTest, LoadsTheModelIntoWhoeverSaysHello) {
  EXPECT_EQ(Started(0), (std::vector<WorkerId>{1}));
  v1::FromWorker hello;
  hello.mutable_hello()->set_pid(7);
  Commands commands;
  fleet_.OnMessage({1, hello, {}}, 0, commands);
  ASSERT_EQ(commands.size(), 1u);
  EXPECT_EQ(std::get<SendToWorker>(commands[0]).message.load_model().path(), "/a");
  EXPECT_TRUE(Ready(1));
  EXPECT_EQ(fleet_.model(0).token_pixels, 8);
  EXPECT_EQ(fleet_.Describe()[0].state(), v1::Model::STATE_READY);
}

TEST(WorkerFleetDevicesTest, AreTakenInTurn) {
  FleetConfig config = OneModel();
  config.models.push_back({"models/b", "/b"});
  config.workers_per_model = 2;
  config.dedicated = {{1, 1}};
  config.devices = {"cuda:0", "cuda:1"};
  WorkerFleet fleet(config);
  Commands commands;
  fleet.StartDue(0, commands);
  std::vector<std::string> devices;
  for (const auto& command : commands) devices.push_back(std::get<StartWorker>(command).device);
  EXPECT_EQ(devices, (std::vector<std::string>{"cuda:0", "cuda:1", "cuda:0",  // of a
                                               "cuda:1", "cuda:0", "cuda:1"}));
  // One that starts anew computes where the one before it did.
  fleet.OnLost(2, LostCause::kKilled, "", 0);
  commands.clear();
  fleet.StartDue(int64_t{1} << 50, commands);
  ASSERT_EQ(commands.size(), 1u);
  EXPECT_EQ(std::get<StartWorker>(commands[0]).device, "cuda:1");
}

// Two workers of one model.
class SharedWeightsTest : public ::testing::Test {
 protected:
  static FleetConfig TwoWorkers() {
    FleetConfig config = OneModel();
    config.workers_per_model = 2;
    return config;
  }
  // The orders to load that a hello, or the end of a worker, leads to.
  std::vector<SendToWorker> Orders(const Commands& commands) {
    std::vector<SendToWorker> orders;
    for (const auto& command : commands) {
      if (const auto* order = std::get_if<SendToWorker>(&command)) orders.push_back(*order);
    }
    return orders;
  }
  std::vector<SendToWorker> Hello(WorkerId id) {
    v1::FromWorker hello;
    hello.mutable_hello()->set_pid(static_cast<int32_t>(id));
    return Say(id, hello, {});
  }
  std::vector<SendToWorker> Say(WorkerId id, const v1::FromWorker& message,
                                std::vector<Payload> attachments) {
    Commands commands;
    fleet_.OnMessage({id, message, std::move(attachments)}, 0, commands);
    return Orders(commands);
  }
  std::vector<SendToWorker> Start() {
    Commands commands;
    fleet_.StartDue(0, commands);
    return Orders(commands);
  }
  static v1::FromWorker LoadedAndPacked() {
    v1::FromWorker message = Loaded(absl::OkStatus());
    message.mutable_model_loaded()->mutable_packed()->set_key("key");
    return message;
  }

  WorkerFleet fleet_{TwoWorkers()};
  const Payload segment_ = Payload::Copy("packed");
};

TEST_F(SharedWeightsTest, TheSecondWorkerWaitsForWhatTheFirstPacks) {
  Start();
  EXPECT_EQ(Hello(2).size(), 1u);
  EXPECT_TRUE(Hello(1).empty());
  const auto orders = Say(2, LoadedAndPacked(), {segment_});
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_EQ(orders[0].worker, 1u);
  EXPECT_EQ(orders[0].message.load_model().packed().key(), "key");
  ASSERT_EQ(orders[0].attachments.size(), 1u);
  EXPECT_EQ(orders[0].attachments[0].bytes(), "packed");
}

TEST_F(SharedWeightsTest, TheyOutliveTheWorkersThatUseThem) {
  Start();
  Hello(1);
  Say(1, LoadedAndPacked(), {segment_});
  fleet_.OnLost(1, LostCause::kKilled, "", 0);
  fleet_.OnLost(2, LostCause::kKilled, "", 0);
  Start();
  for (const WorkerId id : {WorkerId{3}, WorkerId{4}}) {
    const auto orders = Hello(id);
    ASSERT_EQ(orders.size(), 1u);
    EXPECT_EQ(orders[0].message.load_model().packed().key(), "key");
    EXPECT_EQ(orders[0].attachments.size(), 1u);
  }
}

TEST_F(SharedWeightsTest, WhoPacksAnewReplacesThem) {
  Start();
  Hello(1);
  Say(1, LoadedAndPacked(), {segment_});
  Hello(2);
  v1::FromWorker other = LoadedAndPacked();
  other.mutable_model_loaded()->mutable_packed()->set_key("other");
  Say(2, other, {Payload::Copy("1"), Payload::Copy("2")});
  fleet_.OnLost(2, LostCause::kKilled, "", 0);
  Start();
  const auto orders = Hello(3);
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_EQ(orders[0].message.load_model().packed().key(), "other");
  EXPECT_EQ(orders[0].attachments.size(), 2u);
}

TEST_F(SharedWeightsTest, NobodyWaitsForOneThatIsGoneOrFailed) {
  Start();
  EXPECT_EQ(Hello(1).size(), 1u);
  EXPECT_TRUE(Hello(2).empty());
  fleet_.OnLost(1, LostCause::kKilled, "", 0);
  const auto orders = Start();
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_EQ(orders[0].worker, 2u);
  EXPECT_FALSE(orders[0].message.load_model().has_packed());
  EXPECT_TRUE(Hello(3).empty());
  EXPECT_EQ(Say(2, Loaded(absl::InternalError("broken")), {}).size(), 1u);
}

TEST_F(SharedWeightsTest, WorkersThatCannotShareLoadTogether) {
  Start();
  Hello(1);
  Say(1, Loaded(absl::OkStatus()), {});
  fleet_.OnLost(1, LostCause::kKilled, "", 0);
  Start();
  EXPECT_EQ(Hello(2).size(), 1u);
  const auto orders = Hello(3);
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_FALSE(orders[0].message.load_model().has_packed());
}

TEST_F(WorkerFleetTest, ADeadWorkerIsReplacedAtOnceThenEverMoreSlowly) {
  WorkerId id = Started(0)[0];
  ASSERT_TRUE(Ready(id));
  EXPECT_TRUE(fleet_.OnLost(id, LostCause::kKilled, "", 1000));
  id = Started(1000)[0];
  int64_t now_ns = 1000;
  int64_t last_wait_ns = 0;
  for (int i = 0; i < 12; ++i) {
    EXPECT_FALSE(fleet_.OnLost(id, LostCause::kExited, "", now_ns));
    const int64_t start_ns = now_ns;
    std::vector<WorkerId> started;
    while ((started = Started(now_ns)).empty()) now_ns += 1'000'000;
    EXPECT_GE(now_ns - start_ns, last_wait_ns);
    EXPECT_LE(now_ns - start_ns, kRestartDelayMaxNs + 1'000'000);
    last_wait_ns = std::min(now_ns - start_ns, kRestartDelayMaxNs);
    id = started[0];
  }
  EXPECT_FALSE(fleet_.Hopeless().has_value());
}

TEST_F(WorkerFleetTest, AWrongModelIsHopeless) {
  const WorkerId id = Started(0)[0];
  Commands commands;
  fleet_.OnMessage({id, Loaded(absl::InvalidArgumentError("no tensors")), {}}, 0, commands);
  fleet_.OnLost(id, LostCause::kExited, "", 0);
  ASSERT_TRUE(fleet_.Hopeless().has_value());
  EXPECT_EQ(fleet_.Hopeless()->message(), "no tensors");
  EXPECT_TRUE(Started(1'000'000'000'000).empty());
  EXPECT_EQ(fleet_.Describe()[0].error(), "no tensors");
}

TEST_F(WorkerFleetTest, AProgramThatNeverStartsIsHopeless) {
  int64_t now_ns = 0;
  for (int i = 0; i < kFailedStartsMax; ++i) {
    EXPECT_FALSE(fleet_.Hopeless().has_value());
    const auto started = Started(now_ns += kRestartDelayMaxNs);
    ASSERT_EQ(started.size(), 1u);
    fleet_.OnLost(started[0], LostCause::kStartFailed, "no such program", now_ns);
  }
  ASSERT_TRUE(fleet_.Hopeless().has_value());
  EXPECT_EQ(ErrorReason(*fleet_.Hopeless()), "WORKER_START_FAILED");
}

TEST_F(WorkerFleetTest, NoticesAPlanThatNeverEnds) {
  const WorkerId id = Started(0)[0];
  ASSERT_TRUE(Ready(id));
  fleet_.PlanSent(id, 1, 1'000'000);
  EXPECT_TRUE(fleet_.Hung(kHangFloorNs * 10).empty()) << "staged plans do not hang";
  fleet_.PlanStarted(id, 1, 5);
  EXPECT_TRUE(fleet_.Hung(kHangFloorNs).empty());
  EXPECT_EQ(fleet_.Hung(kHangFloorNs + 10).size(), 1u);
  v1::PlanDone done;
  done.set_sequence(1);
  fleet_.PlanDone(id, done, 6);
  EXPECT_TRUE(fleet_.Hung(kHangFloorNs * 10).empty());
}

TEST_F(WorkerFleetTest, NoticesALoadThatStandsStill) {
  const WorkerId id = Started(0)[0];
  const auto say = [&](const v1::FromWorker& message, int64_t now_ns) {
    Commands commands;
    fleet_.OnMessage({id, message, {}}, now_ns, commands);
  };
  EXPECT_TRUE(fleet_.Hung(kLoadSilenceMaxNs * 10).empty()) << "hellos are the pool's to wait for";
  v1::FromWorker hello;
  hello.mutable_hello()->set_pid(7);
  say(hello, 5);
  EXPECT_TRUE(fleet_.Hung(kLoadSilenceMaxNs + 5).empty());
  EXPECT_EQ(fleet_.Hung(kLoadSilenceMaxNs + 6), (std::vector<WorkerId>{id}));
  v1::FromWorker progress;
  progress.mutable_load_progress()->set_bytes_done(1);
  say(progress, 100);
  EXPECT_TRUE(fleet_.Hung(kLoadSilenceMaxNs + 100).empty());
  EXPECT_EQ(fleet_.Hung(kLoadSilenceMaxNs + 101), (std::vector<WorkerId>{id}));
  ASSERT_TRUE(Ready(id));
  EXPECT_TRUE(fleet_.Hung(kLoadSilenceMaxNs * 10).empty());
}

}  // namespace
}  // namespace darkroom::engine
