#include "scheduler/decision_log.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

using ::testing::HasSubstr;

// Every kind of event, with fields that are all unlike their defaults.
std::vector<Event> Events() {
  ReplicaSpec worker;
  worker.stages = kAllStages;
  worker.hardware = 3;
  worker.models = {2};
  worker.slots = 4;
  worker.step_tokens_max = 256;
  worker.plans_in_flight_max = 2;
  worker.numerics = 9;
  worker.cost = {{Stage::kDenoise, 64, 1'000'000}, {Stage::kDecode, 64, 300'000}};
  worker.learned = {{Stage::kDenoise, 1.25, 17}};
  worker.adapters_max = 3;
  worker.quantum_ns_max = 2'000'000;
  worker.revokes = true;
  ReplicaSpec dedicated = worker;
  dedicated.dedicated_to = 5;
  JobSpec job;
  job.tenant = 5;
  job.model = 2;
  job.service_class = ServiceClass::kTarget;
  job.deadline_ns = 9'000'000'000;
  job.stages = StageBit(Stage::kDenoise) | StageBit(Stage::kDecode);
  job.steps = 3;
  job.step_tokens = 64;
  job.image_tokens = 64;
  job.segments = 2;
  job.adapter = 4;
  // Two that run one job together, since alone it would be late.
  ReplicaSpec pair = worker;
  pair.models = {7};
  pair.gang = 6;
  pair.degrees = {{2, {{Stage::kDenoise, 64, 600'000}}, {{Stage::kDenoise, 1.5, 3}}}};
  ReplicaSpec second = pair;
  second.gang_rank = 1;
  std::vector<Event> events = {ReplicaAttached{1, worker}, ReplicaAttached{2, dedicated},
                               ReplicaAttached{3, pair},   ReplicaAttached{4, second},
                               TenantWeight{5, 2.5},       TenantLimits{5, 10, 4, 1000.5, 20}};
  for (JobId id = 1; id <= 4; ++id) {
    job.id = id;
    job.held = id == 3;
    job.admitted = id == 4;
    events.emplace_back(JobSubmitted{job});
  }
  job.id = 9;
  job.model = 7;
  job.segments = 1;
  job.admitted = false;
  events.emplace_back(JobSubmitted{job});
  events.emplace_back(PlanFinished{3, 1, 900'000, {{9, PlanFinished::Outcome::kDone, true}}});
  events.emplace_back(JobReleased{3});
  events.emplace_back(PlanFinished{1, 1, 1'200'000, {{1, PlanFinished::Outcome::kDone, true}}});
  events.emplace_back(PlanRevoked{1, 2});
  events.emplace_back(PlanBegun{1, 3});
  events.emplace_back(JobEnded{2});
  events.emplace_back(ReplicaLost{1});
  events.emplace_back(TenantRemoved{5});
  return events;
}

std::string Log() {
  PolicyConfig config;
  config.burst_credit_ns = 5;
  Scheduler scheduler(config);
  scheduler.set_checkpoint_steps(2);
  std::string log = DecisionLogHead(config, 2);
  int64_t now_ns = 1000;
  for (const Event& event : Events()) {
    std::vector<Command> commands;
    scheduler.Handle(event, now_ns += 500'000, commands);
    AppendDecision(event, now_ns, commands, log);
  }
  return log;
}

absl::Status ReplayAll(std::string_view log, int64_t* decisions = nullptr,
                       int64_t* torn_bytes = nullptr) {
  auto replay = DecisionReplay::Open(log);
  if (!replay.ok()) return replay.status();
  while (true) {
    const auto more = replay->Next();
    if (!more.ok()) return more.status();
    if (!*more) break;
  }
  if (decisions != nullptr) *decisions = replay->decisions();
  if (torn_bytes != nullptr) *torn_bytes = replay->torn_bytes();
  return absl::OkStatus();
}

TEST(DecisionLogTest, RunsAgainWithTheSameCommands) {
  int64_t decisions = 0;
  int64_t torn_bytes = 0;
  const absl::Status status = ReplayAll(Log(), &decisions, &torn_bytes);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(decisions, static_cast<int64_t>(Events().size()));
  EXPECT_EQ(torn_bytes, 0);
}

TEST(DecisionLogTest, EveryChangedByteIsTold) {
  const std::string log = Log();
  for (size_t i = 0; i < log.size(); ++i) {
    for (const char flip : {'\x01', '\x80'}) {
      std::string changed = log;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      const absl::Status status = ReplayAll(changed);
      ASSERT_FALSE(status.ok()) << "byte " << i;
      ASSERT_THAT(ErrorReason(status),
                  ::testing::AnyOf("DECISION_LOG_DAMAGED", "DECISION_LOG_INVALID"));
    }
  }
}

TEST(DecisionLogTest, DamageIsToldWithItsPlace) {
  std::string log = DecisionLogHead({}, 10);
  AppendDecision(TenantWeight{1, 2}, 5, {}, log);
  const size_t second = log.size();
  AppendDecision(TenantWeight{2, 3}, 6, {}, log);
  AppendDecision(TenantWeight{3, 3}, 7, {}, log);
  log[second + 12] ^= 1;
  EXPECT_EQ(std::string(ReplayAll(log).message()),
            absl::StrCat("decision 1, at byte ", second,
                         ", is damaged: its bytes do not match their checksum"));
}

TEST(DecisionLogTest, OtherCommandsAreTold) {
  std::string log = DecisionLogHead({}, 10);
  AppendDecision(TenantWeight{1, 2}, 5, {}, log);
  AppendDecision(JobEnded{7}, 6, {JobFinished{7}}, log);
  const absl::Status status = ReplayAll(log);
  EXPECT_EQ(ErrorReason(status), "DECISIONS_DIFFER");
  EXPECT_THAT(std::string(status.message()), HasSubstr("decision 1, at byte "));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("gave 1 commands when it was recorded and gives 0 others now"));
}

TEST(DecisionLogTest, ATornTailIsDropped) {
  const std::string log = Log();
  std::string whole = log;
  AppendDecision(JobEnded{9}, 1'000'000'000, {}, whole);
  for (size_t size = log.size() + 1; size < whole.size(); ++size) {
    int64_t torn_bytes = 0;
    const absl::Status status = ReplayAll(whole.substr(0, size), nullptr, &torn_bytes);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(torn_bytes, static_cast<int64_t>(size - log.size()));
  }
}

TEST(DecisionLogTest, OtherFilesAreRefused) {
  for (const std::string& bytes :
       {std::string(), std::string("x"), std::string(100, '\0'), DecisionLogHead({}, 0)}) {
    EXPECT_EQ(ErrorReason(DecisionReplay::Open(bytes).status()), "DECISION_LOG_INVALID");
  }
}

}  // namespace
}  // namespace darkroom::scheduler
