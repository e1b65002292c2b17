#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "scheduler/policy_config.h"
#include "scheduler/scheduler.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// A record of what a scheduler was told, when, and what it ordered, from its first event on. Since
// the scheduler is pure, the record runs again: DecisionReplay tells whether every command is the
// same. Only bytes are made here; who writes them, and where, is the engine's.
//
// Little-endian. Frames of u32 length, u32 ~length, payload, u64 FNV-1a of the payload. The first
// is the head: magic, policy, checkpoint steps. Each other one is a decision: now, event, number of
// commands, FNV-1a of the commands. A length that reaches past the end, behind a whole frame head,
// or less than a frame head, is a torn tail; anything else that does not fit is damage.

// The head of a log.
std::string DecisionLogHead(const PolicyConfig& config, int32_t checkpoint_steps);

// Appends one decision to `log`.
void AppendDecision(const Event& event, int64_t now_ns, const std::vector<Command>& commands,
                    std::string& log);

// What a log says that the scheduler was told, one event after the other.
class DecisionReader {
 public:
  struct Decision {
    int64_t now_ns = 0;
    Event event;
    // Of what was ordered then.
    uint32_t commands = 0;
    uint64_t digest = 0;
  };

  // `log`: the bytes of the whole log; must outlive this. INVALID_ARGUMENT (DECISION_LOG_INVALID)
  // when it does not begin as one.
  static absl::StatusOr<DecisionReader> Open(std::string_view log);

  const PolicyConfig& policy() const { return policy_; }
  int32_t checkpoint_steps() const { return checkpoint_steps_; }
  // False at the end. DATA_LOSS (DECISION_LOG_DAMAGED) names the record and the byte where it
  // begins.
  absl::StatusOr<bool> Next(Decision& decision);

  // The decisions read so far, and where the latest of them begins.
  int64_t decisions() const { return decisions_; }
  size_t at() const { return began_; }
  // Bytes at the end that were never completely written.
  int64_t torn_bytes() const { return torn_bytes_; }

 private:
  explicit DecisionReader(std::string_view log) : log_(log) {}

  std::string_view log_;
  PolicyConfig policy_;
  int32_t checkpoint_steps_ = 1;
  size_t at_ = 0;
  size_t began_ = 0;
  int64_t decisions_ = 0;
  int64_t torn_bytes_ = 0;
};

// Runs a log again.
class DecisionReplay {
 public:
  // As DecisionReader::Open.
  static absl::StatusOr<DecisionReplay> Open(std::string_view log);

  // The next decision; false at the end. DATA_LOSS names the record and the byte where it begins:
  // DECISION_LOG_DAMAGED, or DECISIONS_DIFFER when the commands are others than were recorded.
  absl::StatusOr<bool> Next();

  int64_t decisions() const { return decisions_; }
  int64_t commands() const { return commands_; }
  int64_t torn_bytes() const { return reader_.torn_bytes(); }
  // The latest decision: what was told, and what it gave.
  const DecisionReader::Decision& decision() const { return decision_; }
  const std::vector<Command>& ordered() const { return ordered_; }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  explicit DecisionReplay(const DecisionReader& reader)
      : reader_(reader), scheduler_(reader.policy()) {
    scheduler_.set_checkpoint_steps(reader.checkpoint_steps());
  }

  DecisionReader reader_;
  DecisionReader::Decision decision_;
  std::vector<Command> ordered_;
  std::string bytes_;
  Scheduler scheduler_;
  int64_t decisions_ = 0;
  int64_t commands_ = 0;
};

}  // namespace darkroom::scheduler
