#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"
#include "ipc/tensor_ref.h"
#include "ipc/unix_stream.h"
#include "testing/fake_pipeline.h"
#include "worker/worker.h"

namespace darkroom::testing {

// A worker with a fake model in this process, and the daemon's end of its connection.
class WorkerHarness {
 public:
  explicit WorkerHarness(FakePipelineOptions fake = {.step_us = 0},
                         WorkerOptions options = Quiet()) {
    auto ends = UnixSocketPair();
    EXPECT_TRUE(ends.ok());
    peer_fd_ = ends->first.get();
    connection_ = std::make_unique<FrameConnection>(
        std::make_unique<UnixStream>(std::move(ends->first), UnixStream::Mode::kBlocking));
    worker_ = std::make_unique<Worker>(
        std::make_unique<UnixStream>(std::move(ends->second), UnixStream::Mode::kBlocking),
        [fake, this](const std::string& path,
                     const LoadOptions& load) -> absl::StatusOr<std::unique_ptr<Pipeline>> {
          auto pipeline = LoadFakePipeline(fake, path, load);
          if (pipeline.ok()) pipeline_ = static_cast<FakePipeline*>(pipeline->get());
          return pipeline;
        },
        std::move(options));
    thread_ = std::thread([this] { exit_code_ = worker_->Run(); });
  }
  ~WorkerHarness() {
    if (thread_.joinable()) Disconnect();
  }

  static WorkerOptions Quiet() {
    WorkerOptions options;
    options.cost_probe_ns_max = 0;
    return options;
  }

  void Send(const v1::ToWorker& message, std::vector<Payload> attachments = {}) {
    // A worker that has ended leaves its reasons, which the test reads; the rest goes nowhere.
    if (gone_) return;
    ASSERT_TRUE(connection_->Queue(message, std::move(attachments)).ok());
    gone_ = !connection_->Flush().ok();
  }
  // Everything in one write, so that the worker has it all before it acts on the first.
  void SendTogether(const std::vector<v1::ToWorker>& messages) {
    for (const auto& message : messages) ASSERT_TRUE(connection_->Queue(message, {}).ok());
    ASSERT_TRUE(connection_->Flush().ok());
  }

  // The next message of a kind; others are dropped. Empty at the end of the connection.
  v1::FromWorker Next(v1::FromWorker::MessageCase kind) {
    for (;;) {
      v1::FromWorker message;
      const auto state = connection_->Read(message, attachments_);
      if (!state.ok() || *state != FrameConnection::ReadState::kMessage) return {};
      if (message.message_case() == kind) return message;
    }
  }
  v1::PlanDone NextDone() { return Next(v1::FromWorker::kPlanDone).plan_done(); }
  const std::vector<Payload>& attachments() const { return attachments_; }

  v1::ModelLoaded Load(int slots) {
    v1::ToWorker message;
    message.mutable_load_model()->set_name("models/fake");
    message.mutable_load_model()->set_precision("f32");
    message.mutable_load_model()->set_slots(slots);
    Send(message);
    return Next(v1::FromWorker::kModelLoaded).model_loaded();
  }

  static v1::ToWorker OpenMessage(uint32_t slot, uint64_t epoch, const std::string& prompt = "",
                                  int steps = 4) {
    v1::ToWorker message;
    v1::OpenSlot& open = *message.mutable_open_slot();
    open.set_slot(slot);
    open.set_lease_epoch(epoch);
    open.set_tenant_tag(1);
    open.set_width(32);
    open.set_height(48);
    open.set_prompt(prompt);
    open.set_guidance_scale(4);
    open.set_seed(static_cast<int64_t>(slot) + 1000);
    open.set_steps(steps);
    open.set_sampler("ddim");
    return message;
  }
  static v1::ToWorker CloseMessage(uint32_t slot, uint64_t epoch) {
    v1::ToWorker message;
    message.mutable_close_slot()->set_slot(slot);
    message.mutable_close_slot()->set_lease_epoch(epoch);
    return message;
  }
  static v1::ToWorker RevokeMessage(uint64_t sequence) {
    v1::ToWorker message;
    message.mutable_revoke_plan()->set_gang_epoch(1);
    message.mutable_revoke_plan()->set_sequence(sequence);
    return message;
  }
  static v1::ToWorker ShutdownMessage() {
    v1::ToWorker message;
    message.mutable_shutdown();
    return message;
  }

  absl::Status Open(const v1::ToWorker& message, std::vector<Payload> attachments = {}) {
    Send(message, std::move(attachments));
    return FromProto(Next(v1::FromWorker::kSlotOpened).slot_opened().status());
  }
  absl::Status Open(uint32_t slot, uint64_t epoch, const std::string& prompt = "", int steps = 4) {
    return Open(OpenMessage(slot, epoch, prompt, steps));
  }

  struct Entry {
    uint32_t slot;
    uint64_t epoch;
    int step = 0;
    bool checkpoint = false;
  };
  // With the next sequence number.
  v1::ToWorker PlanMessage(v1::Stage stage, const std::vector<Entry>& entries) {
    v1::ToWorker message;
    v1::BatchPlan& plan = *message.mutable_plan();
    plan.set_gang_epoch(1);
    plan.set_sequence(++sequence_);
    plan.set_stage(stage);
    for (const Entry& entry : entries) {
      v1::PlanJob& job = *plan.add_jobs();
      job.set_slot(entry.slot);
      job.set_lease_epoch(entry.epoch);
      job.set_tenant_tag(1);
      job.set_step_index(entry.step);
      job.mutable_returns()->set_checkpoint(entry.checkpoint);
      job.mutable_returns()->set_output(stage == v1::STAGE_DECODE);
    }
    return message;
  }
  v1::PlanDone Run(v1::Stage stage, const std::vector<Entry>& entries) {
    Send(PlanMessage(stage, entries));
    return NextDone();
  }

  FakePipeline& pipeline() { return *pipeline_; }
  int peer_fd() const { return peer_fd_; }
  uint64_t sequence() const { return sequence_; }

  // The daemon goes away; the worker's exit code.
  int Disconnect() {
    connection_.reset();
    return Join();
  }
  int Join() {
    thread_.join();
    return exit_code_;
  }

 private:
  int peer_fd_ = -1;
  std::unique_ptr<FrameConnection> connection_;
  bool gone_ = false;
  std::vector<Payload> attachments_;
  FakePipeline* pipeline_ = nullptr;  // the worker's
  std::unique_ptr<Worker> worker_;
  std::thread thread_;
  int exit_code_ = -1;
  uint64_t sequence_ = 0;
};

}  // namespace darkroom::testing
