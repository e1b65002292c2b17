#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "darkroom/job_inputs.h"
#include "darkroom/payload.h"
#include "darkroom/v1/worker.pb.h"
#include "ipc/tensor_ref.h"
#include "sim/sim_loop.h"

namespace darkroom::sim {

// What the latents of a request are after `steps` steps, reduced to a number; and the picture made
// from them. Depends on the request alone, as the real thing must.
uint64_t StartLatents(const v1::OpenSlot& request);
// With what the job starts from mixed in.
uint64_t WithInputs(uint64_t latents, const JobInputs& inputs);
uint64_t NextLatents(uint64_t latents, int32_t step, double guidance_scale);
std::string PictureOf(uint64_t latents, int32_t width, int32_t height);

// Transformer blocks of its model.
inline constexpr int32_t kSimBlocks = 6;

// A worker process as the daemon sees it: protocol, order of execution and timing of the real one,
// arithmetic on one number instead of tensors.
class SimWorker : public std::enable_shared_from_this<SimWorker> {
 public:
  using Say = std::function<void(v1::FromWorker, std::vector<Payload>)>;

  // `checkpoint_loss`: the share of checkpoints that it leaves out, as for want of memory.
  SimWorker(SimLoop& loop, int64_t quantum_ns_max, double checkpoint_loss, Say say)
      : loop_(loop),
        quantum_ns_max_(quantum_ns_max),
        checkpoint_loss_(checkpoint_loss),
        say_(std::move(say)) {}

  void Start();
  void Hear(const v1::ToWorker& message, const std::vector<Payload>& attachments);
  // From now on it neither says nor does anything.
  void Die() { alive_ = false; }
  bool alive() const { return alive_; }
  int64_t busy_ns() const { return busy_ns_; }
  // Faults met while checking the daemon's orders.
  const std::vector<std::string>& complaints() const { return complaints_; }

 private:
  struct Slot {
    uint64_t epoch = 0;
    v1::OpenSlot request;
    uint64_t latents = 0;
    int32_t step = 0;
    int32_t block = 0;
    bool encoded = false;
    bool image_encoded = false;
    bool open = false;
  };

  void Later(int64_t delay_ns, void (SimWorker::*what)());
  void SayHello();
  void SayLoaded();
  void RunNext();
  void Revoke(uint64_t sequence);
  void FinishPlan();
  void Open(const v1::OpenSlot& request, const std::vector<Payload>& attachments);
  v1::PlanDone::JobResult RunJob(const v1::BatchPlan& plan, const v1::PlanJob& job);
  // What comes back after a step.
  void PutReturns(const v1::PlanJob& job, const Slot& slot, TensorWriter& writer,
                  v1::PlanDone::JobResult& result);
  // True when the job's step is done.
  bool RunBlocks(const v1::BatchPlan& plan, Slot& slot);
  void CheckParked(const v1::BatchPlan& plan);

  SimLoop& loop_;
  const int64_t quantum_ns_max_;
  const double checkpoint_loss_;
  const Say say_;
  bool alive_ = true;
  bool busy_ = false;
  int64_t busy_ns_ = 0;
  int64_t plan_start_ns_ = 0;
  uint64_t last_sequence_ = 0;
  // Opens and plans, in the order in which they came.
  std::deque<std::pair<v1::ToWorker, std::vector<Payload>>> queue_;
  std::map<uint32_t, Slot> slots_;
  // Leases that are good; closing takes effect at once, also for plans that are queued.
  std::map<uint32_t, uint64_t> leases_;
  std::vector<std::string> complaints_;
};

}  // namespace darkroom::sim
