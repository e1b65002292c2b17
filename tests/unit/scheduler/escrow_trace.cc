#include "escrow_trace.h"

#include <algorithm>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "scheduler/escrow.h"

namespace darkroom::scheduler {
namespace {

// The checker's books.
class Books {
 public:
  std::string Apply(const EscrowOp& op) {
    switch (op.kind) {
      case EscrowOp::Kind::kBudget:
        budgets_[op.tenant] = op.nanos;
        if (!escrow_.SetBudget(op.tenant, static_cast<double>(op.nanos)).ok()) return "G8: budget";
        return "";
      case EscrowOp::Kind::kReserve:
        return Reserve(op);
      case EscrowOp::Kind::kCharge:
        total_ += op.nanos;
        if (const auto job = jobs_.find(op.job); job != jobs_.end()) {
          job->second.paid += escrow_.Charge(op.job, op.nanos);
          if (job->second.paid > job->second.worst) return "G8: a job pays more than was reserved";
        } else if (escrow_.Charge(op.job, op.nanos) != 0) {
          return "G8: a job pays that has no reservation";
        }
        return "";
      case EscrowOp::Kind::kLose:
        total_ += op.nanos;
        escrow_.ChargeHouse(op.nanos);
        return "";
      case EscrowOp::Kind::kRelease:
      case EscrowOp::Kind::kRefund:
        escrow_.Release(op.job, op.kind == EscrowOp::Kind::kRefund);
        if (const auto job = jobs_.find(op.job); job != jobs_.end()) {
          if (op.kind == EscrowOp::Kind::kRelease) spent_[job->second.tenant] += job->second.paid;
          jobs_.erase(job);
        }
        return "";
    }
    return "";
  }

  std::string Check() const {
    int64_t paid = escrow_.house_ns();
    for (TenantId tenant = 1; tenant <= 3; ++tenant) {
      const Escrow::Account account = escrow_.AccountOf(tenant);
      paid += account.charged_ns;
      if (account.charged_ns + account.reserved_ns != Held(tenant)) {
        return absl::StrCat("G8: tenant ", tenant, " has ",
                            account.charged_ns + account.reserved_ns, " booked, not ",
                            Held(tenant));
      }
    }
    if (paid != total_) return absl::StrCat("G8: ", paid, " is paid of ", total_);
    const auto broken = escrow_.BrokenInvariants();
    return broken.empty() ? "" : "G8: " + broken.front();
  }

 private:
  struct OpenJob {
    TenantId tenant = 0;
    int64_t worst = 0;
    int64_t paid = 0;
  };

  // What jobs that ended paid, and those that are there may.
  int64_t Held(TenantId tenant) const {
    const auto spent = spent_.find(tenant);
    int64_t held = spent == spent_.end() ? 0 : spent->second;
    for (const auto& [id, job] : jobs_) held += job.tenant == tenant ? job.worst : 0;
    return held;
  }

  std::string Reserve(const EscrowOp& op) {
    if (jobs_.contains(op.job)) return "";
    const auto budget = budgets_.find(op.tenant);
    const bool fits = budget == budgets_.end() || Held(op.tenant) + op.nanos <= budget->second;
    if (escrow_.Reserve(op.job, op.tenant, op.nanos).ok() != fits) {
      return fits ? "G8: what fits is refused" : "G8: more is reserved than the budget leaves";
    }
    if (fits) jobs_[op.job] = {op.tenant, op.nanos, 0};
    return "";
  }

  Escrow escrow_;
  std::map<TenantId, int64_t> budgets_;
  std::map<TenantId, int64_t> spent_;
  std::map<JobId, OpenJob> jobs_;
  int64_t total_ = 0;
};

}  // namespace

EscrowTrace RandomEscrowTrace(uint64_t seed) {
  std::mt19937_64 random(seed);
  EscrowTrace trace;
  const uint64_t ops = 5 + random() % 60;
  for (uint64_t i = 0; i < ops; ++i) {
    EscrowOp op;
    op.tenant = static_cast<TenantId>(1 + random() % 3);
    op.job = 1 + random() % 12;
    op.nanos = 1 + static_cast<int64_t>(random() % 1000);
    const uint64_t dice = random() % 20;
    if (dice < 2) {
      op.kind = EscrowOp::Kind::kBudget;
      op.nanos = static_cast<int64_t>(random() % 4) * 1000;
    } else if (dice < 8) {
      op.kind = EscrowOp::Kind::kReserve;
    } else if (dice < 15) {
      op.kind = EscrowOp::Kind::kCharge;
      if (random() % 10 == 0) op.nanos <<= 40;  // the clock jumped
    } else if (dice < 16) {
      op.kind = EscrowOp::Kind::kLose;
    } else {
      op.kind = dice < 19 ? EscrowOp::Kind::kRelease : EscrowOp::Kind::kRefund;
    }
    trace.push_back(op);
  }
  return trace;
}

std::string RunEscrowTrace(const EscrowTrace& trace) {
  Books books;
  for (const EscrowOp& op : trace) {
    std::string broken = books.Apply(op);
    if (broken.empty()) broken = books.Check();
    if (!broken.empty()) return broken;
  }
  return "";
}

EscrowTrace ShrinkEscrow(EscrowTrace trace) {
  for (size_t i = 0; i < trace.size();) {
    EscrowTrace smaller = trace;
    smaller.erase(smaller.begin() + static_cast<long>(i));
    if (RunEscrowTrace(smaller).empty()) {
      ++i;
    } else {
      trace = std::move(smaller);
    }
  }
  return trace;
}

std::string DescribeEscrow(const EscrowTrace& trace) {
  std::string text;
  for (const EscrowOp& op : trace) {
    absl::StrAppend(&text, "  op ", static_cast<int>(op.kind), " job ", op.job, " tenant ",
                    op.tenant, " ", op.nanos, " ns\n");
  }
  return text;
}

}  // namespace darkroom::scheduler
