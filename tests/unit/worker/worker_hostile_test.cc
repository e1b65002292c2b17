// A daemon gone wrong: whatever it says, the worker answers or ends with a reason, and never
// crashes.

#include <sys/socket.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"
#include "unit/worker/worker_harness.h"
#include "worker/limits.h"

namespace darkroom {
namespace {

using testing::WorkerHarness;

TEST(HostileTest, GarbageEndsTheWorkerWithAReason) {
  WorkerHarness worker;
  worker.Load(1);
  const std::string garbage(64, '\xff');
  ASSERT_EQ(::send(worker.peer_fd(), garbage.data(), garbage.size(), MSG_NOSIGNAL), 64);
  EXPECT_EQ(worker.Next(v1::FromWorker::kFatal).fatal().code(),
            static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(worker.Join(), 1);
}

TEST(HostileTest, AnEmptyEnvelopeEndsTheWorker) {
  WorkerHarness worker;
  worker.Send(v1::ToWorker());
  EXPECT_NE(worker.Next(v1::FromWorker::kFatal).fatal().code(), 0);
  EXPECT_EQ(worker.Join(), 1);
}

TEST(HostileTest, HalfAFrameIsOnlyTheDaemonsEnd) {
  WorkerHarness worker;
  ASSERT_EQ(::send(worker.peer_fd(), "\x10\0\0", 3, MSG_NOSIGNAL), 3);
  EXPECT_EQ(worker.Disconnect(), 0);
}

TEST(HostileTest, PlansAndSlotsBeforeAModelAreAnswered) {
  WorkerHarness worker;
  const auto done = worker.Run(v1::STAGE_DENOISE, {{0, 1, 0}});
  EXPECT_EQ(ErrorReason(FromProto(done.jobs(0).status())), "SLOT_UNKNOWN");
  EXPECT_EQ(ErrorReason(worker.Open(0, 1)), "SLOT_UNKNOWN");
  EXPECT_EQ(worker.Load(1).status().code(), 0);
}

TEST(HostileTest, ASecondModelIsRefusedAndTheFirstGoesOn) {
  WorkerHarness worker;
  worker.Load(2);
  ASSERT_TRUE(worker.Open(1, 1).ok());
  EXPECT_EQ(ErrorReason(FromProto(worker.Load(1).status())), "MODEL_ALREADY_LOADED");
  EXPECT_EQ(worker.Run(v1::STAGE_ENCODE, {{1, 1}}).jobs(0).status().code(), 0);
}

TEST(HostileTest, PlansOutOfSequenceFailAsAWhole) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  v1::ToWorker plan = worker.PlanMessage(v1::STAGE_ENCODE, {{0, 1}});
  plan.mutable_plan()->set_sequence(10);
  worker.Send(plan);
  EXPECT_EQ(worker.NextDone().jobs(0).status().code(), 0);
  for (const uint64_t sequence : {uint64_t{10}, uint64_t{9}, uint64_t{0}}) {
    plan.mutable_plan()->set_sequence(sequence);
    worker.Send(plan);
    EXPECT_EQ(ErrorReason(FromProto(worker.NextDone().jobs(0).status())), "PLAN_OUT_OF_ORDER");
  }
  // A new epoch of the gang counts from its own beginning; the old one is over.
  plan.mutable_plan()->set_gang_epoch(2);
  plan.mutable_plan()->set_sequence(1);
  worker.Send(plan);
  EXPECT_EQ(worker.NextDone().jobs(0).status().code(), 0);
  plan.mutable_plan()->set_gang_epoch(1);
  plan.mutable_plan()->set_sequence(11);
  worker.Send(plan);
  EXPECT_EQ(ErrorReason(FromProto(worker.NextDone().jobs(0).status())), "PLAN_OUT_OF_ORDER");
}

TEST(HostileTest, TooManyPlansEndTheWorker) {
  WorkerHarness worker({.step_us = 200'000});
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  for (size_t i = 0; i <= kPlansQueuedMax; ++i) {
    worker.Send(worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}}));
  }
  EXPECT_EQ(worker.Next(v1::FromWorker::kFatal).fatal().code(),
            static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(worker.Join(), 1);
}

TEST(HostileTest, TooManyJobsInAPlanEndTheWorker) {
  WorkerHarness worker;
  worker.Load(1);
  worker.Send(worker.PlanMessage(
      v1::STAGE_DENOISE, std::vector<WorkerHarness::Entry>(kWorkerPlanJobsMax + 1, {0, 1, 0})));
  EXPECT_NE(worker.Next(v1::FromWorker::kFatal).fatal().code(), 0);
  EXPECT_EQ(worker.Join(), 1);
}

TEST(HostileTest, SlotsOpenedAndClosedWithoutEndAreBounded) {
  // Long enough for all that follows to arrive within one step, on a busy machine too.
  WorkerHarness worker({.step_us = 2'000'000});
  worker.Load(2);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  worker.Send(worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}}));
  worker.Next(v1::FromWorker::kPlanStarted);
  for (uint64_t epoch = 1; epoch <= kCommandsQueuedMax; ++epoch) {
    worker.Send(WorkerHarness::OpenMessage(1, epoch));
    worker.Send(WorkerHarness::CloseMessage(1, epoch));
  }
  EXPECT_EQ(worker.Next(v1::FromWorker::kFatal).fatal().code(),
            static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(worker.Join(), 1);
}

TEST(HostileTest, EveryWrongNumberOfASlotIsRefused) {
  WorkerHarness worker;
  worker.Load(1);
  uint64_t epoch = 0;
  const auto refused = [&](auto&& change) {
    v1::ToWorker open = WorkerHarness::OpenMessage(0, ++epoch);
    change(*open.mutable_open_slot());
    return absl::IsInvalidArgument(worker.Open(open));
  };
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  constexpr int32_t kMin = std::numeric_limits<int32_t>::min();
  for (const int32_t value : {kMin, -1, 0, kMax}) {
    EXPECT_TRUE(refused([=](v1::OpenSlot& open) { open.set_width(value); })) << value;
    EXPECT_TRUE(refused([=](v1::OpenSlot& open) { open.set_height(value); })) << value;
    EXPECT_TRUE(refused([=](v1::OpenSlot& open) { open.set_steps(value); })) << value;
  }
  for (const double value :
       {std::nan(""), HUGE_VAL, -HUGE_VAL, 0.0, -0.0, 0.99, 30.01, 5e-324, 1e308}) {
    EXPECT_TRUE(refused([=](v1::OpenSlot& open) { open.set_guidance_scale(value); })) << value;
  }
  EXPECT_TRUE(refused([](v1::OpenSlot& open) { open.set_seed(-1); }));
  EXPECT_TRUE(refused([](v1::OpenSlot& open) { open.set_prompt(std::string(10'241, 'x')); }));
  EXPECT_TRUE(refused([](v1::OpenSlot& open) { open.add_adapters()->set_weight(std::nan("")); }));
  EXPECT_TRUE(refused([](v1::OpenSlot& open) {
    for (int i = 0; i <= kJobAdaptersMax; ++i) open.add_adapters();
  }));
  for (const int32_t step : {kMin, -1, 5, kMax}) {
    EXPECT_TRUE(refused([=](v1::OpenSlot& open) { open.mutable_checkpoint()->set_step(step); }));
  }
  EXPECT_TRUE(worker.Open(0, ++epoch).ok());
}

// Plans and slots with random fields, at a worker that also has a good job: it must answer every
// one, and the good job's bits must not change.
TEST(HostileTest, RandomPlansNeverHarmAGoodJob) {
  WorkerHarness reference;
  reference.Load(2);
  ASSERT_TRUE(reference.Open(0, 1, "", 20).ok());
  reference.Run(v1::STAGE_ENCODE, {{0, 1}});

  WorkerHarness worker({.step_us = 0, .blocks = 3});
  worker.Load(2);
  ASSERT_TRUE(worker.Open(0, 1, "", 20).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  std::mt19937 random(99);
  const auto any = [&](std::vector<int64_t> values) { return values[random() % values.size()]; };
  uint64_t epoch = 1000;
  for (int step = 0; step < 20; ++step) {
    for (int i = 0; i < 30; ++i) {
      v1::ToWorker message =
          worker.PlanMessage(static_cast<v1::Stage>(any({0, 1, 2, 3, 4, 77})), {});
      v1::BatchPlan& plan = *message.mutable_plan();
      if (random() % 4 == 0) {
        plan.mutable_segments()->set_first(static_cast<int32_t>(any({0, 0, 1, 2, -1, 1 << 30})));
        plan.mutable_segments()->set_last(static_cast<int32_t>(any({1, 2, 3, 4, -1, INT32_MAX})));
      }
      for (uint32_t jobs = random() % 6; jobs > 0; --jobs) {
        v1::PlanJob& job = *plan.add_jobs();
        // Never the good job's lease under its own tag.
        job.set_slot(static_cast<uint32_t>(any({0, 1, 2, 1 << 20, -1})));
        job.set_lease_epoch(static_cast<uint64_t>(any({0, 2, static_cast<int64_t>(epoch), -1})));
        job.set_tenant_tag(static_cast<uint64_t>(any({0, 1, 2})));
        job.set_step_index(static_cast<int32_t>(any({-1, 0, 1, 2, 1 << 30})));
        job.set_guidance_scale(random() % 2 == 0 ? 4 : std::nan(""));
        job.set_isolation(static_cast<v1::IsolationLevel>(any({0, 1, 2, 3, 9})));
        job.set_cfg_branch(static_cast<v1::CfgBranch>(any({0, 0, 0, 1, 2, 9})));
        for (uint32_t n = random() % 4; n > 0; --n) job.add_sigmas(std::nan(""));
        job.mutable_returns()->set_checkpoint(random() % 2 == 0);
        job.mutable_returns()->set_output(random() % 2 == 0);
      }
      const int jobs = plan.jobs_size();
      worker.Send(message);
      ASSERT_EQ(worker.NextDone().jobs_size(), jobs);
      if (random() % 3 == 0) {
        worker.Send(WorkerHarness::CloseMessage(1, epoch));
        worker.Send(WorkerHarness::OpenMessage(1, ++epoch, random() % 2 == 0 ? "fail@0" : ""));
      }
    }
    const auto good = worker.Run(v1::STAGE_DENOISE, {{0, 1, step}});
    const auto alone = reference.Run(v1::STAGE_DENOISE, {{0, 1, step}});
    ASSERT_EQ(good.jobs(0).status().code(), 0);
    ASSERT_EQ(good.jobs(0).latents_hash(), alone.jobs(0).latents_hash());
  }
}

}  // namespace
}  // namespace darkroom
