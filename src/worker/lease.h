#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/v1/worker.pb.h"
#include "google/rpc/status.pb.h"

namespace darkroom {

// A job's hold on a slot, from OpenSlot to CloseSlot. Made by the reader, which knows what the
// daemon has said; shared with the executor, which knows what has been done.
struct Lease {
  enum class State {
    kHeld,
    kClosed,      // by the reader: entries of plans that have not begun are skipped
    kOpenFailed,  // by the executor: the slot holds nothing
  };

  Lease(uint32_t slot_in, uint64_t epoch_in, uint64_t tenant_tag_in)
      : slot(slot_in), epoch(epoch_in), tenant_tag(tenant_tag_in) {}

  const uint32_t slot;
  const uint64_t epoch;
  const uint64_t tenant_tag;
  std::atomic<State> state{State::kHeld};

  // The executor's own.
  bool open = false;  // the pipeline holds the slot
  int32_t width = 0;
  int32_t height = 0;
  int32_t steps = 0;  // evaluations due in all
  bool has_image = false;
  bool image_encoded = false;
  int32_t first_step = 0;  // 0, or the checkpoint's
  int32_t next_step = 0;   // the only step a plan may run
  int32_t next_block = 0;  // and from where; above 0 the job waits inside the step
  std::string numerics_id;
  // Once opening or a stage failed, nothing else runs for the job. A message and not a status, as
  // PlanEntry::refusal: the reader may be the one to let go of the lease.
  std::optional<google::rpc::Status> failure;
};

// The reader's view: which lease holds each slot after all messages so far. The executor may be
// behind it.
class LeaseTable {
 public:
  // Slots are known once a model is to be loaded.
  void SetSlots(int slots) { slots_.assign(static_cast<size_t>(slots), nullptr); }
  int slots() const { return static_cast<int>(slots_.size()); }

  // INVALID_ARGUMENT when there is no such slot; FAILED_PRECONDITION when it is held.
  absl::StatusOr<std::shared_ptr<Lease>> Open(const v1::OpenSlot& request);
  // The lease that ended, or null when that lease does not hold the slot.
  std::shared_ptr<Lease> Close(uint32_t slot, uint64_t epoch);
  // The lease of a plan's entry; null when it is gone (its entry is then skipped).
  // INVALID_ARGUMENT when there is no such slot or it is another tenant's.
  absl::StatusOr<std::shared_ptr<Lease>> Find(const v1::PlanJob& job) const;

 private:
  std::vector<std::shared_ptr<Lease>> slots_;
};

}  // namespace darkroom
