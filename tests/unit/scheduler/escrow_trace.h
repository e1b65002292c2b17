#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/types.h"

namespace darkroom::scheduler {

// What budgets go through: jobs taken, quanta charged, some of them far beyond what was predicted
// because a clock jumped or a worker stood still, work lost with its replica and done again, ends
// of all kinds, and budgets that change.
struct EscrowOp {
  enum class Kind { kBudget, kReserve, kCharge, kLose, kRelease, kRefund };
  Kind kind = Kind::kReserve;
  JobId job = 0;
  TenantId tenant = 0;
  int64_t nanos = 0;
};
using EscrowTrace = std::vector<EscrowOp>;

// All of it follows from the seed.
EscrowTrace RandomEscrowTrace(uint64_t seed);

// G8 at every operation, against books of the checker's own: a job is charged its reservation at
// most; nothing is reserved beyond what the budget leaves; what no job holds is free; tenants and
// house together pay exactly what was charged. What was broken first; empty: nothing was.
std::string RunEscrowTrace(const EscrowTrace& trace);
EscrowTrace ShrinkEscrow(EscrowTrace trace);
std::string DescribeEscrow(const EscrowTrace& trace);

}  // namespace darkroom::scheduler
