#include "worker/worker.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/numerics.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ipc/protocol.h"
#include "unit/worker/worker_harness.h"

namespace darkroom {
namespace {

using testing::WorkerHarness;
using Entry = WorkerHarness::Entry;
using ::testing::ElementsAre;

std::string Reason(const v1::PlanDone::JobResult& result) {
  return ErrorReason(FromProto(result.status()));
}

// Takes a job alone from noise to its picture.
std::string RunAlone(WorkerHarness& worker, uint32_t slot, uint64_t epoch, int steps = 4) {
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_ENCODE, {{slot, epoch}}).jobs(0)), "");
  for (int step = 0; step < steps; ++step) {
    EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{slot, epoch, step}}).jobs(0)), "");
  }
  const v1::PlanDone done = worker.Run(v1::STAGE_DECODE, {{slot, epoch}});
  auto pixels = ReadTensor(done.jobs(0).output(), worker.attachments());
  EXPECT_TRUE(pixels.ok()) << pixels.status();
  return pixels.ok() ? std::string(pixels->bytes()) : "";
}

TEST(WorkerTest, SaysHelloFirst) {
  WorkerOptions options = WorkerHarness::Quiet();
  options.device = "fake device";
  options.memory_bytes = 123;
  WorkerHarness worker({.step_us = 0}, options);
  const v1::Hello hello = worker.Next(v1::FromWorker::kHello).hello();
  EXPECT_EQ(hello.protocol_version(), kWorkerProtocolVersion);
  EXPECT_GT(hello.pid(), 0);
  EXPECT_EQ(hello.device(), "fake device");
  EXPECT_EQ(hello.memory_bytes(), 123);
  EXPECT_EQ(worker.Disconnect(), 0);
}

TEST(WorkerTest, LoadsAModelAndTellsProgress) {
  WorkerHarness worker;
  v1::ToWorker message;
  message.mutable_load_model()->set_name("models/fake");
  message.mutable_load_model()->set_precision("bf16");
  message.mutable_load_model()->set_slots(2);
  worker.Send(message);
  EXPECT_GT(worker.Next(v1::FromWorker::kLoadProgress).load_progress().bytes_total(), 0);
  const auto loaded = worker.Next(v1::FromWorker::kModelLoaded).model_loaded();
  EXPECT_EQ(loaded.status().code(), 0);
  EXPECT_EQ(loaded.model().name(), "models/fake");
  EXPECT_EQ(loaded.numerics().precision(), "bf16");
  EXPECT_EQ(loaded.token_pixels(), 16);
  EXPECT_EQ(loaded.cost_size(), 0);
}

// A request to load, with what a worker of `isa` packed before.
struct PackedLoad {
  explicit PackedLoad(const std::string& isa = "fake") {
    v1::LoadModel& load = *message.mutable_load_model();
    load.set_precision("f32");
    load.set_slots(1);
    WorkerHarness worker({.isa = isa});
    worker.Send(message);
    const auto loaded = worker.Next(v1::FromWorker::kModelLoaded).model_loaded();
    *load.mutable_packed() = loaded.packed();
    attachments = worker.attachments();
  }
  v1::ModelLoaded LoadElsewhere() const {
    WorkerHarness worker;
    worker.Send(message, attachments);
    return worker.Next(v1::FromWorker::kModelLoaded).model_loaded();
  }
  v1::ToWorker message;
  std::vector<Payload> attachments;
};

TEST(WorkerTest, HandsOutThePackedWeightsAndTakesThose) {
  const PackedLoad packed;
  const v1::PackedWeights& weights = packed.message.load_model().packed();
  EXPECT_EQ(weights.key(), "fake ");
  EXPECT_EQ(weights.layout(), "fake");
  ASSERT_EQ(weights.files_size(), 1);
  EXPECT_EQ(weights.files(0).sha256(), "sha256");
  ASSERT_EQ(weights.segments_size(), 1);
  ASSERT_EQ(packed.attachments.size(), 1u);
  EXPECT_EQ(packed.attachments[0].bytes(), "fake ");
  const v1::ModelLoaded loaded = packed.LoadElsewhere();
  EXPECT_EQ(loaded.status().code(), 0);
  // It packed nothing.
  EXPECT_FALSE(loaded.has_packed());
}

TEST(WorkerTest, PacksAnewWhatAnotherMachinePacked) {
  const PackedLoad packed("other");
  const v1::ModelLoaded loaded = packed.LoadElsewhere();
  EXPECT_EQ(loaded.status().code(), 0);
  EXPECT_EQ(loaded.packed().layout(), "fake");
}

TEST(WorkerTest, PacksAnewWhatCameBroken) {
  PackedLoad missing;
  missing.attachments.clear();
  EXPECT_TRUE(missing.LoadElsewhere().has_packed());
  PackedLoad longer;
  v1::LoadModel& load = *longer.message.mutable_load_model();
  load.mutable_packed()->mutable_segments(0)->set_size_bytes(6);
  EXPECT_TRUE(longer.LoadElsewhere().has_packed());
  PackedLoad inline_bytes;
  v1::TensorRef& segment =
      *inline_bytes.message.mutable_load_model()->mutable_packed()->mutable_segments(0);
  segment.set_inline_data("fake ");
  EXPECT_TRUE(inline_bytes.LoadElsewhere().has_packed());
}

TEST(WorkerTest, RefusesALoadThatItCannotServe) {
  const auto reason = [](auto&& change) {
    WorkerHarness worker;
    v1::ToWorker message;
    v1::LoadModel& load = *message.mutable_load_model();
    load.set_precision("f32");
    load.set_slots(1);
    change(load);
    worker.Send(message);
    const auto loaded = worker.Next(v1::FromWorker::kModelLoaded).model_loaded();
    return ErrorReason(FromProto(loaded.status()));
  };
  EXPECT_EQ(reason([](v1::LoadModel&) {}), "");
  EXPECT_EQ(reason([](v1::LoadModel& load) { load.set_slots(0); }), "SLOTS_OUT_OF_RANGE");
  EXPECT_EQ(reason([](v1::LoadModel& load) { load.set_slots(-5); }), "SLOTS_OUT_OF_RANGE");
  EXPECT_EQ(reason([](v1::LoadModel& load) { load.set_slots(1 << 30); }), "SLOTS_OUT_OF_RANGE");
  EXPECT_EQ(reason([](v1::LoadModel& load) { load.set_precision("f8"); }), "PRECISION_UNKNOWN");
  EXPECT_EQ(reason([](v1::LoadModel& load) { load.set_step_tokens_max(-1); }),
            "STEP_TOKENS_OUT_OF_RANGE");
  EXPECT_EQ(reason([](v1::LoadModel& load) { load.mutable_parallel()->set_tensor(2); }),
            "PARALLEL_UNSUPPORTED");
}

TEST(WorkerTest, ALoadErrorIsToldAndTheWorkerGoesOn) {
  WorkerHarness worker({.step_us = 0, .load_error = "no such weights"});
  const v1::ModelLoaded loaded = worker.Load(1);
  EXPECT_EQ(ErrorReason(FromProto(loaded.status())), "MODEL_INVALID");
  EXPECT_EQ(ErrorReason(worker.Open(0, 1)), "MODEL_NOT_LOADED");
  v1::ToWorker ping;
  ping.mutable_ping()->set_nonce(5);
  worker.Send(ping);
  EXPECT_EQ(worker.Next(v1::FromWorker::kPong).pong().nonce(), 5u);
}

TEST(WorkerTest, RunsAJobFromNoiseToPixels) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1, "a cat").ok());
  const std::string pixels = RunAlone(worker, 0, 1);
  EXPECT_EQ(pixels.size(), 32u * 48 * 3);
  EXPECT_NE(std::count(pixels.begin(), pixels.end(), pixels[0]),
            static_cast<ptrdiff_t>(pixels.size()));
}

TEST(WorkerTest, QuantaNeverOverlapAndStartedComesBeforeDone) {
  WorkerHarness worker({.step_us = 500});
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  std::vector<v1::ToWorker> plans = {worker.PlanMessage(v1::STAGE_ENCODE, {{0, 1}})};
  for (int step = 0; step < 4; ++step) {
    plans.push_back(worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, step}}));
  }
  worker.SendTogether(plans);
  int64_t end_ns = 0;
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    EXPECT_EQ(worker.Next(v1::FromWorker::kPlanStarted).plan_started().sequence(), sequence);
    const v1::PlanDone done = worker.NextDone();
    EXPECT_EQ(done.sequence(), sequence);
    EXPECT_GE(done.start_nanos(), end_ns);
    EXPECT_GE(done.end_nanos() - done.start_nanos(), sequence == 1 ? 0 : 500'000);
    end_ns = done.end_nanos();
  }
}

// The promise that batches rest on: joining and leaving, at other steps, changes nobody's bits.
TEST(WorkerTest, JobsJoinAndLeaveWithoutChangingEachOther) {
  WorkerHarness worker;
  worker.Load(3);
  std::vector<std::string> alone;
  for (uint32_t slot = 0; slot < 3; ++slot) {
    ASSERT_TRUE(worker.Open(slot, 1).ok());
    alone.push_back(RunAlone(worker, slot, 1));
    worker.Send(WorkerHarness::CloseMessage(slot, 1));
  }
  EXPECT_NE(alone[0], alone[1]);

  // Slot 0 begins alone, 1 joins at its second step, 2 at its third; each leaves when it is done.
  std::vector<std::string> together(3);
  for (uint32_t slot = 0; slot < 3; ++slot) {
    ASSERT_TRUE(worker.Open(slot, 2).ok());
    worker.Run(v1::STAGE_ENCODE, {{slot, 2}});
  }
  for (int tick = 0; tick < 6; ++tick) {
    std::vector<Entry> entries;
    for (int slot = 2; slot >= 0; --slot) {
      const int step = tick - slot;
      if (step >= 0 && step < 4) entries.push_back({static_cast<uint32_t>(slot), 2, step});
    }
    const v1::PlanDone done = worker.Run(v1::STAGE_DENOISE, entries);
    for (const auto& job : done.jobs()) {
      EXPECT_EQ(job.status().code(), 0);
      EXPECT_FALSE(job.skipped());
    }
  }
  const v1::PlanDone done = worker.Run(v1::STAGE_DECODE, {{2, 2}, {0, 2}, {1, 2}});
  for (const auto& job : done.jobs()) {
    together[job.slot()] = std::string(ReadTensor(job.output(), worker.attachments())->bytes());
  }
  EXPECT_EQ(together, alone);
}

TEST(WorkerTest, ResumesFromEveryCheckpointWithTheSameBits) {
  WorkerHarness first;
  first.Load(1);
  ASSERT_TRUE(first.Open(0, 1, "a dog").ok());
  first.Run(v1::STAGE_ENCODE, {{0, 1}});
  std::vector<v1::Checkpoint> checkpoints;
  std::vector<uint64_t> hashes;
  for (int step = 0; step < 4; ++step) {
    const auto done = first.Run(v1::STAGE_DENOISE, {{0, 1, step, /*checkpoint=*/true}});
    ASSERT_TRUE(done.jobs(0).has_checkpoint());
    checkpoints.push_back(done.jobs(0).checkpoint());
    EXPECT_EQ(checkpoints.back().step(), step + 1);
    hashes.push_back(done.jobs(0).latents_hash());
  }
  const auto decoded = first.Run(v1::STAGE_DECODE, {{0, 1}});
  const std::string pixels(ReadTensor(decoded.jobs(0).output(), first.attachments())->bytes());

  WorkerHarness second;
  second.Load(2);
  for (int resumed = 1; resumed <= 4; ++resumed) {
    const uint64_t epoch = static_cast<uint64_t>(10 + resumed);
    // Another slot, the same seed.
    v1::ToWorker open = WorkerHarness::OpenMessage(1, epoch, "a dog");
    open.mutable_open_slot()->set_seed(1000);
    *open.mutable_open_slot()->mutable_checkpoint() = checkpoints[resumed - 1];
    ASSERT_TRUE(second.Open(open).ok());
    second.Run(v1::STAGE_ENCODE, {{1, epoch}});
    for (int step = resumed; step < 4; ++step) {
      const auto done = second.Run(v1::STAGE_DENOISE, {{1, epoch, step}});
      EXPECT_EQ(done.jobs(0).latents_hash(), hashes[step]) << "resumed at " << resumed;
    }
    const auto done = second.Run(v1::STAGE_DECODE, {{1, epoch}});
    EXPECT_EQ(ReadTensor(done.jobs(0).output(), second.attachments())->bytes(), pixels);
    second.Send(WorkerHarness::CloseMessage(1, epoch));
  }
}

TEST(WorkerTest, LargeCheckpointsAndPicturesGoAsMemfds) {
  WorkerHarness worker;
  worker.Load(1);
  v1::ToWorker open = WorkerHarness::OpenMessage(0, 1, "", 1);
  open.mutable_open_slot()->set_width(1024);
  open.mutable_open_slot()->set_height(1024);
  ASSERT_TRUE(worker.Open(open).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  const auto step = worker.Run(v1::STAGE_DENOISE, {{0, 1, 0, true}});
  EXPECT_TRUE(step.jobs(0).checkpoint().latents().has_memfd_index());
  const std::vector<Payload> attachments = worker.attachments();
  const auto done = worker.Run(v1::STAGE_DECODE, {{0, 1}});
  EXPECT_EQ(ReadTensor(done.jobs(0).output(), worker.attachments())->size(), 1024u * 1024 * 3);

  // And back in.
  worker.Send(WorkerHarness::CloseMessage(0, 1));
  *open.mutable_open_slot()->mutable_checkpoint() = step.jobs(0).checkpoint();
  open.mutable_open_slot()->set_lease_epoch(2);
  EXPECT_EQ(worker.Open(open, {}).code(), absl::StatusCode::kInvalidArgument) << "no attachment";
  open.mutable_open_slot()->set_lease_epoch(3);
  EXPECT_TRUE(worker.Open(open, attachments).ok());
}

TEST(WorkerTest, ClosingTakesEffectOnPlansThatWait) {
  WorkerHarness worker({.step_us = 50'000});
  worker.Load(2);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  ASSERT_TRUE(worker.Open(1, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}, {1, 1}});
  worker.SendTogether({worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}, {1, 1, 0}}),
                       worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 1}, {1, 1, 1}})});
  worker.Next(v1::FromWorker::kPlanStarted);
  worker.Send(WorkerHarness::CloseMessage(0, 1));
  // The running plan goes on for both.
  const v1::PlanDone running = worker.NextDone();
  EXPECT_FALSE(running.jobs(0).skipped());
  EXPECT_FALSE(running.jobs(1).skipped());
  const v1::PlanDone waiting = worker.NextDone();
  EXPECT_TRUE(waiting.jobs(0).skipped());
  EXPECT_FALSE(waiting.jobs(1).skipped());
  EXPECT_EQ(waiting.jobs(1).status().code(), 0);
}

TEST(WorkerTest, AStaleEpochIsSkippedAndANewLeaseIsNotTouched) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 7).ok());
  worker.Send(WorkerHarness::CloseMessage(0, 7));
  ASSERT_TRUE(worker.Open(0, 8).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 8}});
  EXPECT_TRUE(worker.Run(v1::STAGE_DENOISE, {{0, 7, 0}}).jobs(0).skipped());
  // A late close of the old lease does not end the new one.
  worker.Send(WorkerHarness::CloseMessage(0, 7));
  const auto done = worker.Run(v1::STAGE_DENOISE, {{0, 8, 0}});
  EXPECT_FALSE(done.jobs(0).skipped());
  EXPECT_EQ(done.jobs(0).status().code(), 0);
}

TEST(WorkerTest, ARevokedPlanDoesNotRun) {
  WorkerHarness worker({.step_us = 50'000});
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  worker.SendTogether({worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}}),
                       worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 1}})});
  worker.Next(v1::FromWorker::kPlanStarted);
  worker.Send(WorkerHarness::RevokeMessage(worker.sequence()));
  // Too late for the one that runs, and for one that never was.
  worker.Send(WorkerHarness::RevokeMessage(worker.sequence() - 1));
  worker.Send(WorkerHarness::RevokeMessage(999));
  // The answer does not wait for the plan that runs, and there is one, however often it is asked.
  worker.Send(WorkerHarness::RevokeMessage(worker.sequence()));
  const v1::PlanDone revoked = worker.NextDone();
  EXPECT_TRUE(revoked.revoked());
  EXPECT_EQ(revoked.sequence(), worker.sequence());
  EXPECT_EQ(revoked.jobs_size(), 0);
  const v1::PlanDone ran = worker.NextDone();
  EXPECT_FALSE(ran.revoked());
  EXPECT_EQ(ran.sequence(), worker.sequence() - 1);
  EXPECT_EQ(ran.jobs(0).status().code(), 0);
  // The step that was revoked is still due.
  EXPECT_EQ(worker.Run(v1::STAGE_DENOISE, {{0, 1, 1}}).jobs(0).status().code(), 0);
}

TEST(WorkerTest, AStepMayBeCutBetweenItsBlocks) {
  WorkerHarness whole;
  EXPECT_EQ(whole.Load(1).blocks(), 1);
  ASSERT_TRUE(whole.Open(0, 1).ok());
  whole.Run(v1::STAGE_ENCODE, {{0, 1}});
  WorkerHarness worker({.step_us = 0, .blocks = 5});
  EXPECT_EQ(worker.Load(2).blocks(), 5);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  ASSERT_TRUE(worker.Open(1, 2).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}, {1, 2}});
  const auto part = [&](int first, int last, const std::vector<WorkerHarness::Entry>& entries) {
    v1::ToWorker message = worker.PlanMessage(v1::STAGE_DENOISE, entries);
    message.mutable_plan()->mutable_segments()->set_first(first);
    message.mutable_plan()->mutable_segments()->set_last(last);
    worker.Send(message);
    return worker.NextDone();
  };
  for (int step = 0; step < 3; ++step) {
    const v1::PlanDone begun = part(0, 2, {{0, 1, step}, {1, 2, step}});
    EXPECT_EQ(begun.jobs(0).status().code(), 0);
    EXPECT_EQ(begun.jobs(0).latents_hash(), 0u) << "the step is not done";
    EXPECT_GT(begun.parked_bytes(), 0);
    // Not again, not beyond, and nothing back from inside a step; each costs its lease, so they are
    // asked for in plan_check_test.cc. The other goes on alone.
    EXPECT_EQ(part(2, 5, {{1, 2, step}}).jobs(0).status().code(), 0);
    part(2, 4, {{0, 1, step}});
    const v1::PlanDone done = part(4, 5, {{0, 1, step, true}});
    const auto expected = whole.Run(v1::STAGE_DENOISE, {{0, 1, step, true}});
    EXPECT_EQ(done.jobs(0).latents_hash(), expected.jobs(0).latents_hash());
    EXPECT_EQ(done.jobs(0).checkpoint().step(), step + 1);
    EXPECT_EQ(done.parked_bytes(), 0);
  }
  // What is closed inside a step leaves nothing.
  EXPECT_GT(part(0, 1, {{0, 1, 3}}).parked_bytes(), 0);
  worker.Send(WorkerHarness::CloseMessage(0, 1));
  EXPECT_EQ(worker.Run(v1::STAGE_DENOISE, {{1, 2, 3}}).parked_bytes(), 0);
}

TEST(WorkerTest, PingsAreAnsweredDuringAStep) {
  WorkerHarness worker({.step_us = 300'000});
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  worker.Send(worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}}));
  worker.Next(v1::FromWorker::kPlanStarted);
  const int64_t asked_ns = Clock::Real().MonotonicNanos();
  v1::ToWorker ping;
  ping.mutable_ping()->set_nonce(9);
  worker.Send(ping);
  EXPECT_EQ(worker.Next(v1::FromWorker::kPong).pong().nonce(), 9u);
  EXPECT_LT(Clock::Real().MonotonicNanos() - asked_ns, 200'000'000);
  EXPECT_EQ(worker.NextDone().jobs(0).status().code(), 0);
}

TEST(WorkerTest, WrongOrderFailsTheEntryAlone) {
  WorkerHarness worker;
  worker.Load(4);
  for (uint32_t slot = 0; slot < 4; ++slot) {
    ASSERT_TRUE(worker.Open(slot, 1, "", 1).ok());
    worker.Run(v1::STAGE_ENCODE, {{slot, 1}});
  }
  // A later step, an unknown slot, twice the same, a negative step; the third is fine.
  auto done =
      worker.Run(v1::STAGE_DENOISE, {{0, 1, 1}, {99, 1, 0}, {2, 1, 0}, {2, 1, 0}, {3, 1, -1}});
  EXPECT_EQ(Reason(done.jobs(0)), "STEP_OUT_OF_ORDER");
  EXPECT_EQ(Reason(done.jobs(1)), "SLOT_UNKNOWN");
  EXPECT_EQ(Reason(done.jobs(2)), "");
  EXPECT_EQ(Reason(done.jobs(3)), "SLOT_TWICE");
  EXPECT_EQ(Reason(done.jobs(4)), "STEP_OUT_OF_ORDER");
  // A wrong entry of a plan does not spoil the job.
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{0, 1, 0}}).jobs(0)), "");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DECODE, {{1, 1}}).jobs(0)), "STAGE_OUT_OF_ORDER");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{0, 1, 1}}).jobs(0)), "STEP_OUT_OF_ORDER");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_ENCODE, {{0, 1}}).jobs(0)), "STAGE_OUT_OF_ORDER");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_MEDIA_ENCODE, {{0, 1}}).jobs(0)), "STAGE_UNKNOWN");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DECODE, {{0, 1}}).jobs(0)), "");
}

TEST(WorkerTest, AnotherTenantsTagRunsNothing) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  v1::ToWorker plan = worker.PlanMessage(v1::STAGE_ENCODE, {{0, 1}});
  plan.mutable_plan()->mutable_jobs(0)->set_tenant_tag(2);
  worker.Send(plan);
  EXPECT_EQ(Reason(worker.NextDone().jobs(0)), "TENANT_MISMATCH");
}

TEST(WorkerTest, NothingOfATenantOutlivesItsLease) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1, "secret").ok());
  RunAlone(worker, 0, 1);
  EXPECT_FALSE(worker.pipeline().SlotMemory(0).empty());
  worker.Send(WorkerHarness::CloseMessage(0, 1));
  // Executed in order: when the next one opens, the close has happened. An open that fails leaves
  // the slot as the close left it.
  EXPECT_FALSE(worker.Open(0, 2, "fail@open").ok());
  EXPECT_THAT(worker.pipeline().SlotMemory(0), ::testing::Each(0.0f));
}

TEST(WorkerTest, ASlotThatIsHeldCannotBeOpenedAndOneThatFailedCan) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  EXPECT_EQ(ErrorReason(worker.Open(0, 2)), "SLOT_HELD");
  EXPECT_EQ(ErrorReason(worker.Open(1, 2)), "SLOT_UNKNOWN");
  worker.Send(WorkerHarness::CloseMessage(0, 1));
  EXPECT_EQ(ErrorReason(worker.Open(0, 3, "fail@open")), "FAKE_FAILURE");
  // Entries that were on their way get the answer again.
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_ENCODE, {{0, 3}}).jobs(0)), "FAKE_FAILURE");
  EXPECT_TRUE(worker.Open(0, 4).ok());
}

TEST(WorkerTest, AFailingJobLeavesItsMatesAlone) {
  WorkerHarness worker;
  worker.Load(3);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  ASSERT_TRUE(worker.Open(1, 1, "fail@1").ok());
  ASSERT_TRUE(worker.Open(2, 1, "nan@1").ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}, {1, 1}, {2, 1}});
  for (int step = 0; step < 3; ++step) {
    const auto done = worker.Run(v1::STAGE_DENOISE, {{2, 1, step}, {0, 1, step}, {1, 1, step}});
    EXPECT_EQ(Reason(done.jobs(0)), step == 0 ? "" : "LATENTS_NOT_FINITE") << step;
    EXPECT_EQ(Reason(done.jobs(1)), "") << step;
    EXPECT_EQ(Reason(done.jobs(2)), step == 0 ? "" : "FAKE_FAILURE") << step;
  }
}

TEST(WorkerTest, WhatAJobThrowsAloneIsItsOwnFailure) {
  WorkerHarness worker;
  worker.Load(2);
  ASSERT_TRUE(worker.Open(0, 1, "throw@0").ok());
  ASSERT_TRUE(worker.Open(1, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}, {1, 1}});
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{0, 1, 0}}).jobs(0)), "WORKER_OUT_OF_MEMORY");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{1, 1, 0}}).jobs(0)), "");
  EXPECT_EQ(ErrorReason(worker.Open(0, 2, "throw@open")), "SLOT_HELD");
  worker.Send(WorkerHarness::CloseMessage(0, 1));
  EXPECT_EQ(ErrorReason(worker.Open(0, 3, "throw@open")), "WORKER_OUT_OF_MEMORY");
}

TEST(WorkerTest, WhatABatchThrowsEndsTheWorker) {
  WorkerHarness worker;
  worker.Load(2);
  ASSERT_TRUE(worker.Open(0, 1, "throw@encode").ok());
  ASSERT_TRUE(worker.Open(1, 1).ok());
  worker.Send(worker.PlanMessage(v1::STAGE_ENCODE, {{0, 1}, {1, 1}}));
  EXPECT_EQ(worker.Next(v1::FromWorker::kFatal).fatal().code(),
            static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(worker.Join(), 1);
}

TEST(WorkerTest, ADeviceFailureEndsTheWorkerAfterTellingSo) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1, "device@encode").ok());
  worker.Send(worker.PlanMessage(v1::STAGE_ENCODE, {{0, 1}}));
  EXPECT_NE(worker.Next(v1::FromWorker::kFatal).fatal().code(), 0);
  EXPECT_EQ(worker.Join(), 1);
}

TEST(WorkerTest, ShutdownFinishesTheRunningPlanAndRevokesTheRest) {
  WorkerHarness worker({.step_us = 50'000});
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  worker.SendTogether({worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}}),
                       worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 1}})});
  worker.Next(v1::FromWorker::kPlanStarted);
  worker.Send(WorkerHarness::ShutdownMessage());
  EXPECT_FALSE(worker.NextDone().revoked());
  EXPECT_TRUE(worker.NextDone().revoked());
  EXPECT_EQ(worker.Join(), 0);
}

TEST(WorkerTest, ACheckpointOfOtherBitsIsRefused) {
  WorkerHarness first({.step_us = 0, .isa = "one"});
  first.Load(1);
  ASSERT_TRUE(first.Open(0, 1).ok());
  first.Run(v1::STAGE_ENCODE, {{0, 1}});
  const auto done = first.Run(v1::STAGE_DENOISE, {{0, 1, 0, true}});
  WorkerHarness second({.step_us = 0, .isa = "two"});
  second.Load(1);
  v1::ToWorker open = WorkerHarness::OpenMessage(0, 1);
  *open.mutable_open_slot()->mutable_checkpoint() = done.jobs(0).checkpoint();
  EXPECT_EQ(ErrorReason(second.Open(open)), "NUMERICS_MISMATCH");
}

TEST(WorkerTest, LeavesThePathOfABrokenDaemonAtOnce) {
  // exit_now stands for _exit: it must be called although a step of 300 ms runs.
  std::atomic<int64_t> exit_ns{0};
  WorkerOptions options = WorkerHarness::Quiet();
  options.exit_now = [&](int code) {
    EXPECT_EQ(code, 0);
    exit_ns = Clock::Real().MonotonicNanos();
  };
  WorkerHarness worker({.step_us = 300'000}, options);
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  worker.Send(worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}}));
  worker.Next(v1::FromWorker::kPlanStarted);
  const int64_t gone_ns = Clock::Real().MonotonicNanos();
  worker.Disconnect();
  EXPECT_GT(exit_ns.load(), 0);
  EXPECT_LT(exit_ns.load() - gone_ns, 200'000'000);
}

// A job of 32 by 48 pixels that starts from a picture, half of it masked.
v1::ToWorker EditMessage(uint32_t slot, uint64_t epoch, double strength,
                         std::vector<Payload>& attachments) {
  v1::ToWorker message = WorkerHarness::OpenMessage(slot, epoch);
  v1::OpenSlot& open = *message.mutable_open_slot();
  open.set_strength(strength);
  TensorWriter writer;
  open.mutable_init_image()->set_dtype(v1::DTYPE_U8);
  for (const int64_t dim : {48, 32, 3}) open.mutable_init_image()->add_shape(dim);
  open.mutable_mask()->set_dtype(v1::DTYPE_U8);
  for (const int64_t dim : {48, 32}) open.mutable_mask()->add_shape(dim);
  const Payload image = Payload::Copy(std::string(size_t{48} * 32 * 3, '\x40'));
  const Payload mask =
      Payload::Copy(std::string(size_t{24} * 32, '\xff') + std::string(size_t{24} * 32, '\0'));
  EXPECT_TRUE(writer.Put(image, *open.mutable_init_image()).ok());
  EXPECT_TRUE(writer.Put(mask, *open.mutable_mask()).ok());
  attachments = writer.TakeAttachments();
  return message;
}

TEST(WorkerTest, AnEditEncodesItsPictureAndRunsTheLastPartOfItsSteps) {
  WorkerHarness worker;
  worker.Load(1);
  std::vector<Payload> attachments;
  const v1::ToWorker open = EditMessage(0, 1, 0.5, attachments);
  ASSERT_TRUE(worker.Open(open, attachments).ok());
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_ENCODE, {{0, 1}}).jobs(0)), "");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_IMAGE_ENCODE, {{0, 1}}).jobs(0)), "");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{0, 1, 0}}).jobs(0)), "");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{0, 1, 1}}).jobs(0)), "");
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DECODE, {{0, 1}}).jobs(0)), "") << "2 of 4 steps are due";
}

TEST(WorkerTest, AnEditNeedsItsPictureBeforeItsFirstStep) {
  WorkerHarness worker;
  worker.Load(2);
  std::vector<Payload> attachments;
  const v1::ToWorker open = EditMessage(0, 1, 0.5, attachments);
  ASSERT_TRUE(worker.Open(open, attachments).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_DENOISE, {{0, 1, 0}}).jobs(0)), "STAGE_OUT_OF_ORDER");
  ASSERT_TRUE(worker.Open(1, 2).ok());
  EXPECT_EQ(Reason(worker.Run(v1::STAGE_IMAGE_ENCODE, {{1, 2}}).jobs(0)), "IMAGE_MISSING");
}

TEST(WorkerTest, WrongInputsAreRefusedWhenTheSlotIsOpened) {
  WorkerHarness worker;
  worker.Load(1);
  uint64_t epoch = 0;
  const auto reason = [&](const auto& change) {
    std::vector<Payload> attachments;
    v1::ToWorker open = EditMessage(0, ++epoch, 0.5, attachments);
    change(*open.mutable_open_slot());
    const std::string found = ErrorReason(worker.Open(open, attachments));
    worker.Send(WorkerHarness::CloseMessage(0, epoch));
    return found;
  };
  EXPECT_EQ(reason([](v1::OpenSlot&) {}), "");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.set_strength(1.5); }), "STRENGTH_OUT_OF_RANGE");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.set_strength(NAN); }), "STRENGTH_OUT_OF_RANGE");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.set_strength(0); }), "STRENGTH_LEAVES_NO_STEP");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.clear_init_image(); }), "MASK_WITHOUT_INIT");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.mutable_mask()->set_shape(0, 47); }),
            "INPUT_SIZE_INVALID");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.mutable_init_image()->set_shape(2, 4); }),
            "INPUT_SIZE_INVALID");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.mutable_mask()->set_dtype(v1::DTYPE_F32); }),
            "INPUT_SIZE_INVALID");
  EXPECT_EQ(reason([](v1::OpenSlot& o) { o.set_width(1 << 20); }), "INPUT_SIZE_INVALID");
}

TEST(WorkerTest, APreviewComesBackWithItsStepAndNoLargerThanAsked) {
  WorkerHarness worker;
  worker.Load(1);
  ASSERT_TRUE(worker.Open(0, 1).ok());
  worker.Run(v1::STAGE_ENCODE, {{0, 1}});
  v1::ToWorker plan = worker.PlanMessage(v1::STAGE_DENOISE, {{0, 1, 0}});
  auto& returns = *plan.mutable_plan()->mutable_jobs(0)->mutable_returns();
  returns.set_preview(true);
  returns.set_preview_size_max(24);
  worker.Send(plan);
  const v1::PlanDone done = worker.NextDone();
  ASSERT_TRUE(done.jobs(0).has_preview());
  const v1::TensorRef& preview = done.jobs(0).preview();
  EXPECT_EQ(preview.shape(0), 24);
  EXPECT_EQ(preview.shape(1), 16);
  EXPECT_EQ(preview.shape(2), 3);
  EXPECT_TRUE(ReadTensor(preview, worker.attachments()).ok());
  EXPECT_FALSE(worker.Run(v1::STAGE_DENOISE, {{0, 1, 1}}).jobs(0).has_preview());
}

}  // namespace
}  // namespace darkroom
