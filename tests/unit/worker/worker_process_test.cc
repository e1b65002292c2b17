// The worker program with a real, tiny model, in processes of its own.

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"
#include "ipc/tensor_ref.h"
#include "supervisor/supervisor.h"
#include "testing/recording_sink.h"

namespace darkroom {
namespace {

using testing::RecordingSink;

constexpr int kSteps = 4;
constexpr char kModel[] = DARKROOM_SOURCE_DIR "/tests/golden/fixtures/dit_base/model";

// One worker process and what a daemon would say to it.
class RealWorker {
 public:
  RealWorker(Supervisor& pool, RecordingSink& sink, WorkerId id, int threads)
      : pool_(pool), sink_(sink), id_(id) {
    WorkerSpec spec;
    spec.program = DARKROOM_BIN_DIR "/darkroom-worker";
    spec.args = {"--log-level", "warning"};
    spec.threads = threads;
    pool_.Start(id_, spec);
    pid_ = sink_.Next(id_, v1::FromWorker::kHello).message.hello().pid();
    v1::ToWorker message;
    message.mutable_load_model()->set_path(kModel);
    message.mutable_load_model()->set_name("models/tiny");
    message.mutable_load_model()->set_precision("f32");
    message.mutable_load_model()->set_slots(4);
    pool_.Send(id_, message, {});
    loaded_ = sink_.Next(id_, v1::FromWorker::kModelLoaded).message.model_loaded();
    EXPECT_EQ(loaded_.status().code(), 0) << loaded_.status().message();
  }

  pid_t pid() const { return pid_; }
  const v1::ModelLoaded& loaded() const { return loaded_; }

  absl::Status Open(uint32_t slot, int64_t seed, const std::string& prompt,
                    const v1::Checkpoint* checkpoint = nullptr) {
    v1::ToWorker message;
    v1::OpenSlot& open = *message.mutable_open_slot();
    open.set_slot(slot);
    open.set_lease_epoch(1);
    open.set_width(loaded_.model().defaults().width());
    open.set_height(loaded_.model().defaults().height());
    open.set_prompt(prompt);
    open.set_guidance_scale(4);
    open.set_seed(seed);
    open.set_steps(kSteps);
    if (checkpoint != nullptr) *open.mutable_checkpoint() = *checkpoint;
    pool_.Send(id_, message, {});
    const auto said = sink_.Next(id_, v1::FromWorker::kSlotOpened);
    return FromProto(said.message.slot_opened().status());
  }

  struct Entry {
    uint32_t slot;
    int step;
  };
  RecordingSink::Said Run(v1::Stage stage, const std::vector<Entry>& entries) {
    v1::ToWorker message;
    v1::BatchPlan& plan = *message.mutable_plan();
    plan.set_gang_epoch(1);
    plan.set_sequence(++sequence_);
    plan.set_stage(stage);
    for (const Entry& entry : entries) {
      v1::PlanJob& job = *plan.add_jobs();
      job.set_slot(entry.slot);
      job.set_lease_epoch(1);
      job.set_step_index(entry.step);
      job.mutable_returns()->set_checkpoint(stage == v1::STAGE_DENOISE);
      job.mutable_returns()->set_output(stage == v1::STAGE_DECODE);
    }
    pool_.Send(id_, message, {});
    auto said = sink_.Next(id_, v1::FromWorker::kPlanDone);
    for (const auto& job : said.message.plan_done().jobs()) {
      EXPECT_EQ(job.status().code(), 0) << job.status().message();
      EXPECT_FALSE(job.skipped());
    }
    return said;
  }

  std::string Decode(uint32_t slot) {
    const auto said = Run(v1::STAGE_DECODE, {{slot, 0}});
    auto pixels = ReadTensor(said.message.plan_done().jobs(0).output(), said.attachments);
    EXPECT_TRUE(pixels.ok()) << pixels.status();
    return pixels.ok() ? std::string(pixels->bytes()) : "";
  }

  // Everything alone, from noise.
  std::string Develop(uint32_t slot, int64_t seed, const std::string& prompt) {
    EXPECT_TRUE(Open(slot, seed, prompt).ok());
    Run(v1::STAGE_ENCODE, {{slot, 0}});
    for (int step = 0; step < kSteps; ++step) Run(v1::STAGE_DENOISE, {{slot, step}});
    return Decode(slot);
  }

 private:
  Supervisor& pool_;
  RecordingSink& sink_;
  const WorkerId id_;
  pid_t pid_ = -1;
  v1::ModelLoaded loaded_;
  uint64_t sequence_ = 0;
};

class WorkerProcessTest : public ::testing::Test {
 protected:
  RecordingSink sink_;
  std::unique_ptr<Supervisor> pool_ = *Supervisor::Create(sink_);
};

TEST_F(WorkerProcessTest, TellsWhatItLoadedAndWhatStepsCost) {
  RealWorker worker(*pool_, sink_, 1, 2);
  const v1::ModelLoaded& loaded = worker.loaded();
  EXPECT_EQ(loaded.model().family(), "DiTPipeline");
  EXPECT_FALSE(loaded.model().numerics_id().empty());
  EXPECT_EQ(loaded.numerics().backend(), "cpu");
  ASSERT_GE(loaded.cost_size(), 2);
  EXPECT_GT(loaded.knee_tokens(), 0);
  for (const auto& point : loaded.cost()) {
    std::printf("step of %4lld tokens: %7.1f us\n", static_cast<long long>(point.tokens()),
                static_cast<double>(point.nanos()) / 1e3);
  }
}

// The promises of the whole design, with a real model and real processes: a picture does not depend
// on batch-mates, on the number of threads, or on a kill between any two steps.
TEST_F(WorkerProcessTest, SameBitsInABatchWithOtherThreadsAndAfterAKill) {
  RealWorker alone(*pool_, sink_, 1, 1);
  const std::string prompt = alone.loaded().model().classes(1);
  const std::string other = alone.loaded().model().classes(0);
  const std::string expected = alone.Develop(0, 42, prompt);
  EXPECT_NE(alone.Develop(1, 43, prompt), expected);

  RealWorker batched(*pool_, sink_, 2, 2);
  ASSERT_TRUE(batched.Open(2, 42, prompt).ok());
  ASSERT_TRUE(batched.Open(0, 7, other).ok());
  batched.Run(v1::STAGE_ENCODE, {{2, 0}, {0, 0}});
  std::vector<v1::Checkpoint> checkpoints;
  for (int step = 0; step < kSteps; ++step) {
    // A mate joins at the second step and is one step behind.
    std::vector<RealWorker::Entry> entries = {{2, step}};
    if (step > 0) entries.insert(entries.begin(), {0, step - 1});
    const auto said = batched.Run(v1::STAGE_DENOISE, entries);
    const auto& jobs = said.message.plan_done().jobs();
    checkpoints.push_back(jobs.Get(jobs.size() - 1).checkpoint());
    ASSERT_TRUE(said.attachments.empty()) << "the tiny model's checkpoints travel inline";
  }
  EXPECT_EQ(batched.Decode(2), expected);

  ASSERT_EQ(::kill(batched.pid(), SIGKILL), 0);
  EXPECT_EQ(sink_.WaitLost(2).cause, LostCause::kKilled);
  RealWorker resumed(*pool_, sink_, 3, 2);
  for (int done = 1; done <= 3; ++done) {
    const uint32_t slot = static_cast<uint32_t>(done);
    ASSERT_TRUE(resumed.Open(slot, 42, prompt, &checkpoints[done - 1]).ok());
    resumed.Run(v1::STAGE_ENCODE, {{slot, 0}});
    for (int step = done; step < kSteps; ++step) resumed.Run(v1::STAGE_DENOISE, {{slot, step}});
    EXPECT_EQ(resumed.Decode(slot), expected) << "resumed after " << done << " steps";
  }
}

TEST_F(WorkerProcessTest, AModelThatIsNotThereIsAnErrorWithoutItsPath) {
  WorkerSpec spec;
  spec.program = DARKROOM_BIN_DIR "/darkroom-worker";
  pool_->Start(1, spec);
  v1::ToWorker message;
  message.mutable_load_model()->set_path("/nonexistent/folder");
  message.mutable_load_model()->set_name("models/none");
  message.mutable_load_model()->set_precision("f32");
  message.mutable_load_model()->set_slots(1);
  pool_->Send(1, message, {});
  const auto loaded = sink_.Next(1, v1::FromWorker::kModelLoaded).message.model_loaded();
  EXPECT_NE(loaded.status().code(), 0);
  EXPECT_EQ(loaded.status().message().find("/nonexistent"), std::string::npos)
      << loaded.status().message();
}

// A GPU that is not there is told when a model is asked for: by then the daemon listens.
TEST_F(WorkerProcessTest, AGpuThatIsNotThereIsAnErrorThatSaysSo) {
  WorkerSpec spec;
  spec.program = DARKROOM_BIN_DIR "/darkroom-worker";
  spec.args = {"--device", "cuda:63"};
  pool_->Start(1, spec);
  const v1::Hello hello = sink_.Next(1, v1::FromWorker::kHello).message.hello();
  EXPECT_EQ(hello.device(), "cuda:63 (not available)");
  v1::ToWorker message;
  message.mutable_load_model()->set_path(kModel);
  message.mutable_load_model()->set_name("models/tiny");
  message.mutable_load_model()->set_precision("f32");
  message.mutable_load_model()->set_slots(1);
  pool_->Send(1, message, {});
  const auto loaded = sink_.Next(1, v1::FromWorker::kModelLoaded).message.model_loaded();
  const absl::Status status = FromProto(loaded.status());
  EXPECT_TRUE(ErrorReason(status) == "NO_CUDA_DEVICE" || ErrorReason(status) == "CUDA_NOT_BUILT")
      << status;
  EXPECT_NE(std::string(status.message()).find("use the cpu"), std::string::npos) << status;
}

TEST_F(WorkerProcessTest, ADeviceThatIsNoneEndsTheWorker) {
  WorkerSpec spec;
  spec.program = DARKROOM_BIN_DIR "/darkroom-worker";
  spec.args = {"--device", "gpu"};
  pool_->Start(1, spec);
  EXPECT_EQ(sink_.WaitLost(1).cause, LostCause::kStartFailed);
}

}  // namespace
}  // namespace darkroom
