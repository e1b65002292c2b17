#include "scheduler/escrow.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "scheduler/limits.h"
#include "scheduler/mutation.h"

namespace darkroom::scheduler {

absl::Status Escrow::SetBudget(TenantId tenant, double budget_ns) {
  // Written so that NaN fails.
  if (!(budget_ns >= 0)) {
    return Error(
        absl::StatusCode::kInvalidArgument, "TENANT_BUDGET_INVALID",
        absl::StrCat("a tenant's budget must be 0 ns (nothing runs) or more; it is ", budget_ns));
  }
  Account& account = accounts_[tenant];
  account.budget_ns.reset();
  if (budget_ns <= static_cast<double>(kBudgetNanosMax)) {
    account.budget_ns = static_cast<int64_t>(budget_ns);
  }
  return absl::OkStatus();
}

int64_t Escrow::Left(TenantId tenant) const {
  const auto it = accounts_.find(tenant);
  if (it == accounts_.end()) return kBudgetNanosMax;
  const Account& account = it->second;
  if (!account.budget_ns) return kBudgetNanosMax - account.reserved_ns;
  return std::max<int64_t>(0, *account.budget_ns - account.charged_ns - account.reserved_ns);
}

absl::Status Escrow::Reserve(JobId job, TenantId tenant, int64_t worst_ns, int32_t steps,
                             int64_t step_ns) {
  if (worst_ns <= 0 || worst_ns > kBudgetNanosMax) {
    return Error(
        absl::StatusCode::kInvalidArgument, "JOB_COST_INVALID",
        absl::StrCat("a job's cost must be 1 to ", kBudgetNanosMax, " ns; it is ", worst_ns));
  }
  if (reservations_.contains(job)) return absl::OkStatus();
  const int64_t left_ns = Left(tenant);
  if (worst_ns > left_ns && !Broken(Rule::kBudget)) {
    const int64_t other_ns = worst_ns - std::min(worst_ns, steps * std::max<int64_t>(0, step_ns));
    const int64_t fits = step_ns > 0 ? std::max<int64_t>(0, left_ns - other_ns) / step_ns : 0;
    return Error(absl::StatusCode::kResourceExhausted, "BUDGET_EXHAUSTED",
                 absl::StrCat("this job may cost ", worst_ns, " ns of accelerator time; ", left_ns,
                              " ns of the budget are left, beside what is reserved",
                              fits > 0 ? absl::StrCat("; at most ", fits, " steps fit") : ""));
  }
  accounts_[tenant].reserved_ns += worst_ns;
  reservations_[job] = {tenant, worst_ns, 0};
  return absl::OkStatus();
}

int64_t Escrow::Charge(JobId job, int64_t nanos) {
  if (nanos <= 0) return 0;
  const auto it = reservations_.find(job);
  if (it == reservations_.end()) {
    house_ns_ += nanos;
    return 0;
  }
  Reservation& reservation = it->second;
  const int64_t room_ns = reservation.worst_ns - reservation.charged_ns;
  const int64_t pays_ns = Broken(Rule::kReservation) ? nanos : std::min(nanos, room_ns);
  reservation.charged_ns += pays_ns;
  Account& account = accounts_[reservation.tenant];
  account.charged_ns += pays_ns;
  account.reserved_ns -= pays_ns;
  house_ns_ += nanos - pays_ns;
  return pays_ns;
}

void Escrow::ChargeHouse(int64_t nanos) { house_ns_ += std::max<int64_t>(0, nanos); }

void Escrow::Release(JobId job, bool refund) {
  const auto it = reservations_.find(job);
  if (it == reservations_.end()) return;
  const Reservation& reservation = it->second;
  Account& account = accounts_[reservation.tenant];
  if (!Broken(Rule::kRelease)) account.reserved_ns -= reservation.worst_ns - reservation.charged_ns;
  if (refund) {
    account.charged_ns -= reservation.charged_ns;
    house_ns_ += reservation.charged_ns;
  }
  reservations_.erase(it);
}

Escrow::Account Escrow::AccountOf(TenantId tenant) const {
  const auto it = accounts_.find(tenant);
  return it == accounts_.end() ? Account{} : it->second;
}

std::vector<std::string> Escrow::BrokenInvariants() const {
  std::vector<std::string> broken;
  absl::flat_hash_map<TenantId, int64_t> reserved;
  for (const auto& [job, reservation] : reservations_) {
    if (reservation.charged_ns > reservation.worst_ns) {
      broken.push_back(absl::StrCat("job ", job, " is charged more than was reserved"));
    }
    reserved[reservation.tenant] += reservation.worst_ns - reservation.charged_ns;
  }
  for (const auto& [tenant, account] : accounts_) {
    const auto it = reserved.find(tenant);
    if (account.reserved_ns != (it == reserved.end() ? 0 : it->second) || account.charged_ns < 0) {
      broken.push_back(absl::StrCat("tenant ", tenant, " lost count of its reservations"));
    }
  }
  return broken;
}

int64_t WorstCost(int64_t predicted_ns, double epsilon, int64_t quanta) {
  const double worst = static_cast<double>(predicted_ns) * (1.0 + epsilon);
  return static_cast<int64_t>(std::ceil(worst)) + quanta;
}

}  // namespace darkroom::scheduler
