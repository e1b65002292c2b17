#include "engine/budget_book.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::engine {
namespace {

// Encoding of prompt and picture, and decoding.
constexpr int64_t kOtherQuanta = 3;

int64_t WorstOf(const BudgetBook::Cost& cost, int32_t steps, double epsilon) {
  const int64_t nanos = cost.nanos - (cost.steps - steps) * cost.step_ns;
  const int64_t quanta = int64_t{steps} * cost.segments + kOtherQuanta;
  return scheduler::WorstCost(std::max<int64_t>(1, nanos), epsilon, quanta);
}

int64_t WorstOf(absl::Span<const BudgetBook::Cost> jobs, int32_t steps, double epsilon) {
  int64_t worst_ns = 0;
  for (const BudgetBook::Cost& job : jobs) worst_ns += WorstOf(job, steps, epsilon);
  return worst_ns;
}

// The most steps that the jobs may have, all as many, to cost no more than is left.
int32_t StepsThatFit(absl::Span<const BudgetBook::Cost> jobs, double epsilon, int64_t left_ns) {
  int32_t fit = 0;
  int32_t too_many = jobs.front().steps;
  while (too_many - fit > 1) {
    const int32_t middle = fit + (too_many - fit) / 2;
    (WorstOf(jobs, middle, epsilon) <= left_ns ? fit : too_many) = middle;
  }
  return fit;
}

std::string Seconds(int64_t nanos) {
  return absl::StrFormat("%.3f s", static_cast<double>(nanos) / 1e9);
}

absl::Status Exhausted(int64_t worst_ns, int64_t left_ns, int32_t steps) {
  absl::Status status =
      Error(absl::StatusCode::kResourceExhausted, "BUDGET_EXHAUSTED",
            absl::StrCat("this may cost up to ", Seconds(worst_ns), " of accelerator time; ",
                         Seconds(left_ns), " of the tenant's budget are left",
                         steps > 0 ? absl::StrCat("; at most ", steps, " steps fit") : ""))
          .Quota("budget_seconds", absl::StrCat(Seconds(left_ns), " are left"));
  v1::AdmissionOffer offer;
  offer.set_steps_max(steps);
  status.SetPayload(absl::StrCat("type.googleapis.com/", offer.GetTypeName()),
                    absl::Cord(offer.SerializeAsString()));
  return status;
}

}  // namespace

void BudgetBook::SetBudget(scheduler::TenantId tenant, std::optional<double> seconds) {
  // The configuration has checked the range.
  if (seconds.has_value()) escrow_.SetBudget(tenant, *seconds * 1e9).IgnoreError();
}

absl::Status BudgetBook::Reserve(scheduler::TenantId tenant, absl::Span<const Cost> jobs,
                                 double epsilon) {
  if (jobs.empty()) return absl::OkStatus();
  const int64_t left_ns = escrow_.Left(tenant);
  const int64_t worst_ns = WorstOf(jobs, jobs.front().steps, epsilon);
  if (worst_ns > left_ns) {
    return Exhausted(worst_ns, left_ns, StepsThatFit(jobs, epsilon, left_ns));
  }
  for (const Cost& job : jobs) {
    absl::Status status = escrow_.Reserve(job.job, tenant, WorstOf(job, job.steps, epsilon));
    if (status.ok()) continue;
    for (const Cost& taken : jobs) escrow_.Release(taken.job, false);
    return status;
  }
  return absl::OkStatus();
}

void BudgetBook::Charge(scheduler::JobId job, int64_t nanos, bool again) {
  if (again) {
    escrow_.ChargeHouse(nanos);
  } else {
    escrow_.Charge(job, nanos);
  }
}

}  // namespace darkroom::engine
