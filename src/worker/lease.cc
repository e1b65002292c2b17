#include "worker/lease.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {
namespace {

absl::Status SlotUnknown(uint32_t slot, size_t slots) {
  return Error(absl::StatusCode::kInvalidArgument, "SLOT_UNKNOWN",
               absl::StrCat("slot ", slot, " does not exist; this worker has ", slots));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Lease>> LeaseTable::Open(const v1::OpenSlot& request) {
  if (request.slot() >= slots_.size()) return SlotUnknown(request.slot(), slots_.size());
  std::shared_ptr<Lease>& held = slots_[request.slot()];
  if (held != nullptr && held->state.load() == Lease::State::kHeld) {
    return absl::Status(Error(absl::StatusCode::kFailedPrecondition, "SLOT_HELD",
                              absl::StrCat("slot ", request.slot(), " is held by lease ",
                                           held->epoch, "; close it first")));
  }
  held = std::make_shared<Lease>(request.slot(), request.lease_epoch(), request.tenant_tag());
  return held;
}

std::shared_ptr<Lease> LeaseTable::Close(uint32_t slot, uint64_t epoch) {
  if (slot >= slots_.size() || slots_[slot] == nullptr || slots_[slot]->epoch != epoch) {
    return nullptr;
  }
  slots_[slot]->state.store(Lease::State::kClosed);
  return std::exchange(slots_[slot], nullptr);
}

absl::StatusOr<std::shared_ptr<Lease>> LeaseTable::Find(const v1::PlanJob& job) const {
  if (job.slot() >= slots_.size()) return SlotUnknown(job.slot(), slots_.size());
  const std::shared_ptr<Lease>& lease = slots_[job.slot()];
  if (lease == nullptr || lease->epoch != job.lease_epoch()) return nullptr;
  if (lease->tenant_tag != job.tenant_tag()) {
    // Whatever made this plan mixes tenants up: nothing runs for the entry.
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, "TENANT_MISMATCH",
                              absl::StrCat("slot ", job.slot(), " was opened under another tag")));
  }
  return lease;
}

}  // namespace darkroom
