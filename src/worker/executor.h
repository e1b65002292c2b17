#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "base/clock.h"
#include "darkroom/pipeline.h"
#include "darkroom/v1/worker.pb.h"
#include "ipc/tensor_ref.h"
#include "worker/commands.h"
#include "worker/outbox.h"

namespace darkroom {

// Loads a model, as LoadPipeline does; called on the executor's thread.
using PipelineFactory = std::function<absl::StatusOr<std::unique_ptr<Pipeline>>(
    const std::string& path, const LoadOptions& options)>;

// Carries out commands one after the other on a thread of its own, the only one that touches the
// pipeline.
class Executor {
 public:
  struct Options {
    const Clock* clock;
    int64_t cost_probe_ns_max;
  };

  // `stopped`: called on the executor's thread when it ends by itself: the device failed, or the
  // daemon is gone.
  Executor(PipelineFactory factory, const Options& options, BoundedQueue<Command>& commands,
           Outbox& outbox, std::function<void()> stopped);

  // Until the queue is closed and empty, or the device fails.
  void Run();

  // From now on nothing begins: plans that wait are reported as revoked. Any thread.
  void Drain() { draining_.store(true); }
  // The daemon was told of a failure after which the worker must end. Any thread.
  bool failed() const { return failed_.load(); }

 private:
  // Each returns the failure that ends the worker; whatever concerns one job or one slot is
  // answered to the daemon instead.
  absl::Status Execute(LoadCommand& command);
  absl::Status Execute(OpenCommand& command);
  absl::Status Execute(CloseCommand& command);
  absl::Status Execute(PlanCommand& command);

  // Fills `reply`, and `attachments`, which go with it.
  absl::Status Load(const LoadCommand& command, v1::ModelLoaded& reply,
                    std::vector<Payload>& attachments);
  absl::Status LoadPipeline(const LoadCommand& command, PackedModel& packed);
  absl::Status Open(const OpenCommand& command);
  std::string JobNumericsId(const v1::OpenSlot& request) const;

  // The entries that may run; the others get their result.
  std::vector<int> Admit(const PlanCommand& command, v1::PlanDone& done);
  absl::Status RunStage(const v1::BatchPlan& plan, absl::Span<const int> live,
                        absl::Span<JobOutcome> outcomes);
  void Report(const v1::BatchPlan& plan, const v1::PlanJob& job, Lease& lease, JobOutcome& outcome,
              TensorWriter& tensors, v1::PlanDone::JobResult& result);
  static void ReportStep(const v1::PlanJob& job, const Lease& lease, JobOutcome& outcome,
                         TensorWriter& tensors, v1::PlanDone::JobResult& result);
  // Of a step; 1: whole steps only.
  int32_t Blocks() const { return pipeline_ == nullptr ? 1 : std::max(1, pipeline_->blocks()); }
  absl::Status SendProgress(int64_t done, int64_t total);

  const PipelineFactory factory_;
  const Options options_;
  BoundedQueue<Command>& commands_;
  Outbox& outbox_;
  const std::function<void()> stopped_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> failed_{false};

  // The executor's thread only.
  std::unique_ptr<Pipeline> pipeline_;
  bool load_attempted_ = false;
  int64_t progress_sent_ns_ = 0;
};

}  // namespace darkroom
