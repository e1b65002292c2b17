#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "darkroom/payload.h"
#include "darkroom/v1/worker.pb.h"
#include "google/rpc/status.pb.h"
#include "worker/lease.h"

namespace darkroom {

// What the reader hands to the executor, in the order in which the daemon sent it.

struct LoadCommand {
  v1::LoadModel request;
  std::vector<Payload> attachments;
};

struct OpenCommand {
  v1::OpenSlot request;
  std::vector<Payload> attachments;
  std::shared_ptr<Lease> lease;
};

struct CloseCommand {
  std::shared_ptr<Lease> lease;
};

// Settles whether a plan begins or is revoked first: exactly one of the two wins.
class PlanTicket {
 public:
  PlanTicket(uint64_t gang_epoch, uint64_t sequence)
      : gang_epoch_(gang_epoch), sequence_(sequence) {}

  // The executor's. False: revoked, nothing may run.
  bool Begin() { return Move(State::kQueued, State::kBegun); }
  // The reader's. False: too late.
  bool Revoke() { return Move(State::kQueued, State::kRevoked); }
  void Finish() { state_.store(State::kFinished); }
  bool finished() const { return state_.load() == State::kFinished; }

  uint64_t gang_epoch() const { return gang_epoch_; }
  uint64_t sequence() const { return sequence_; }

 private:
  enum class State { kQueued, kBegun, kRevoked, kFinished };
  bool Move(State from, State to) { return state_.compare_exchange_strong(from, to); }

  const uint64_t gang_epoch_;
  const uint64_t sequence_;
  std::atomic<State> state_{State::kQueued};
};

// One entry of a plan as the reader found it.
struct PlanEntry {
  std::shared_ptr<Lease> lease;  // null: gone already, or `refusal` says why not
  // A message and not a status: it goes to another thread, and ThreadSanitizer cannot see the
  // references that absl::Status counts inside its packaged library.
  std::optional<google::rpc::Status> refusal;
};

struct PlanCommand {
  v1::BatchPlan plan;
  std::vector<PlanEntry> entries;  // entries[i] belongs to plan.jobs(i)
  std::shared_ptr<PlanTicket> ticket;
};

using Command = std::variant<LoadCommand, OpenCommand, CloseCommand, PlanCommand>;

}  // namespace darkroom
