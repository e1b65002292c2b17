#include "scheduler/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "scheduler/limits.h"

namespace darkroom::scheduler {
namespace {

constexpr int kRanks = 4;
constexpr int64_t kIdle = std::numeric_limits<int64_t>::max();

class Play {
 public:
  Play(std::vector<ForecastJob> jobs, std::vector<ForecastReplica> replicas,
       const ForecastLimits& limits)
      : jobs_(std::move(jobs)), replicas_(std::move(replicas)), limits_(limits) {
    residents_.resize(replicas_.size());
    ranks_.assign(jobs_.size(), -1);
    tenant_slots_ = limits.tenant_slots;
    for (int i = 0; i < static_cast<int>(jobs_.size()); ++i) {
      const ForecastJob& job = jobs_[i];
      if (job.wanted) {
        ++wanted_left_;
        any_wanted_ = true;
        wanted_tenant_ = job.tenant;
      }
      if (job.replica >= 0) {
        residents_[job.replica].push_back(i);
      } else {
        Link(i, false);
        by_latest_start_.insert({job.latest_start_ns, i});
      }
    }
  }

  ForecastResult Run() {
    while (!any_wanted_ || wanted_left_ > 0) {
      size_t next = replicas_.size();
      for (size_t r = 0; r < replicas_.size(); ++r) {
        if (replicas_[r].busy_until_ns == kIdle) continue;
        if (next == replicas_.size() ||
            replicas_[r].busy_until_ns < replicas_[next].busy_until_ns) {
          next = r;
        }
      }
      if (next == replicas_.size()) break;
      RunBatch(next);
    }
    if (any_wanted_ && wanted_left_ > 0) result_.end_ns = kNoDeadline;
    return result_;
  }

 private:
  int RankOf(const ForecastJob& job, bool late) const {
    if (limits_.priority == Priority::kStrict) return (job.is_protected ? 0 : 2) + (late ? 1 : 0);
    return (late ? 2 : 0) + (job.is_protected ? 0 : 1);
  }

  void Link(int i, bool late) {
    ranks_[i] = RankOf(jobs_[i], late);
    waiting_[ranks_[i]].insert({jobs_[i].key_ns, i});
  }

  void Unlink(int i) {
    waiting_[ranks_[i]].erase({jobs_[i].key_ns, i});
    ranks_[i] = -1;
  }

  void MoveLate(int64_t now_ns) {
    while (!by_latest_start_.empty() && by_latest_start_.begin()->first < now_ns) {
      const int i = by_latest_start_.begin()->second;
      by_latest_start_.erase(by_latest_start_.begin());
      if (ranks_[i] < 0) continue;
      Unlink(i);
      Link(i, true);
    }
  }

  // Whoever could be in the replica's next batch, in the policy's order.
  void Gather(size_t r, int64_t now_ns) {
    order_.clear();
    slots_taken_.clear();
    for (const int i : residents_[r]) {
      ++slots_taken_[jobs_[i].tenant];
      const bool late = jobs_[i].latest_start_ns < now_ns && jobs_[i].latest_start_ns != kIdle;
      order_.push_back({RankOf(jobs_[i], late), jobs_[i].key_ns, i});
    }
    int slots = replicas_[r].slots;
    int looked_at = 0;
    int64_t tenant_slots = tenant_slots_;
    for (int rank = 0; rank < kRanks; ++rank) {
      for (const auto& [key, i] : waiting_[rank]) {
        if (slots <= 0 || ++looked_at > kCandidatesMax) break;
        int& taken = slots_taken_[jobs_[i].tenant];
        if (taken >= replicas_[r].slots_per_tenant) continue;
        if (tenant_slots_ >= 0 && jobs_[i].tenant == wanted_tenant_) {
          if (tenant_slots == 0) {
            result_.by_tenant_slots = result_.by_tenant_slots || jobs_[i].wanted;
            continue;
          }
          --tenant_slots;
        }
        --slots;
        ++taken;
        order_.push_back({rank, key, i});
      }
    }
    std::sort(order_.begin(), order_.end());
  }

  void Pack(size_t r) {
    batch_.clear();
    int64_t tokens = 0;
    bool exclusive = false;
    bool mixed = false;
    for (const Candidate& candidate : order_) {
      const ForecastJob& job = jobs_[candidate.job];
      const bool would_mix =
          mixed || (!batch_.empty() && job.tenant != jobs_[batch_.front()].tenant);
      if (would_mix && (exclusive || job.exclusive)) continue;
      if (!batch_.empty() && tokens + job.tokens > replicas_[r].tokens_max) continue;
      if (static_cast<int>(batch_.size()) == kPlanJobsMax) break;
      mixed = would_mix;
      exclusive = exclusive || job.exclusive;
      tokens += job.tokens;
      batch_.push_back(candidate.job);
    }
    batch_tokens_ = tokens;
  }

  void TakeSlot(size_t r, int i, int64_t& clock_ns) {
    Unlink(i);
    jobs_[i].replica = static_cast<int>(r);
    residents_[r].push_back(i);
    --replicas_[r].slots;
    if (tenant_slots_ > 0 && jobs_[i].tenant == wanted_tenant_) --tenant_slots_;
    clock_ns += std::exchange(jobs_[i].before_ns, 0);
  }

  // The batch until the first of its members has done its steps.
  void RunBatch(size_t r) {
    int64_t clock_ns = replicas_[r].busy_until_ns;
    MoveLate(clock_ns);
    Gather(r, clock_ns);
    if (order_.empty()) {
      replicas_[r].busy_until_ns = kIdle;
      if (clock_ns > all_done_ns_) all_done_ns_ = clock_ns;
      result_.all_done_ns = all_done_ns_;
      return;
    }
    Pack(r);
    double steps = std::numeric_limits<double>::max();
    for (const int i : batch_) {
      ForecastJob& job = jobs_[i];
      if (job.wanted && result_.start_ns == kNoDeadline) {
        result_.start_ns = clock_ns;
        result_.late = job.latest_start_ns < clock_ns;
      }
      if (job.replica < 0) TakeSlot(r, i, clock_ns);
      clock_ns += std::exchange(job.before_ns, 0);
      steps = std::min(steps, std::ceil(std::max(0.0, job.steps)));
    }
    clock_ns += static_cast<int64_t>(
        steps * static_cast<double>(replicas_[r].cost->Predict(Stage::kDenoise, batch_tokens_)));
    for (const int i : batch_) {
      ForecastJob& job = jobs_[i];
      const double before = job.steps;
      job.steps -= steps;
      // What is left of it gets less, and it goes before what is longer.
      if (before > 0) {
        job.key_ns =
            job.after_ns + static_cast<int64_t>(static_cast<double>(job.key_ns - job.after_ns) *
                                                std::max(0.0, job.steps) / before);
      }
      if (job.steps <= 0) Finish(r, i, clock_ns);
    }
    replicas_[r].busy_until_ns = clock_ns;
  }

  void Finish(size_t r, int i, int64_t& clock_ns) {
    ForecastJob& job = jobs_[i];
    clock_ns += job.after_ns;
    residents_[r].erase(std::find(residents_[r].begin(), residents_[r].end(), i));
    ++replicas_[r].slots;
    if (tenant_slots_ >= 0 && job.tenant == wanted_tenant_) ++tenant_slots_;
    // Whoever found nothing to do while all waited for this slot looks again.
    for (ForecastReplica& replica : replicas_) {
      if (replica.busy_until_ns == kIdle && tenant_slots_ >= 0) replica.busy_until_ns = clock_ns;
    }
    if (!job.wanted) return;
    --wanted_left_;
    result_.end_ns = result_.end_ns == kNoDeadline ? clock_ns : std::max(result_.end_ns, clock_ns);
  }

  struct Candidate {
    int rank;
    int64_t key_ns;
    int job;
    auto operator<=>(const Candidate&) const = default;
  };

  std::vector<ForecastJob> jobs_;
  std::vector<ForecastReplica> replicas_;
  const ForecastLimits limits_;
  std::vector<std::vector<int>> residents_;
  std::array<absl::btree_set<std::pair<int64_t, int>>, kRanks> waiting_;
  std::vector<int> ranks_;  // of those that wait; -1: it does not
  absl::btree_set<std::pair<int64_t, int>> by_latest_start_;
  std::vector<Candidate> order_;
  absl::flat_hash_map<TenantId, int> slots_taken_;
  std::vector<int> batch_;
  int64_t batch_tokens_ = 0;
  int64_t tenant_slots_ = -1;
  TenantId wanted_tenant_ = 0;
  int wanted_left_ = 0;
  bool any_wanted_ = false;
  int64_t all_done_ns_ = 0;
  ForecastResult result_;
};

}  // namespace

ForecastResult RunForecast(std::vector<ForecastJob> jobs, std::vector<ForecastReplica> replicas,
                           const ForecastLimits& limits) {
  return Play(std::move(jobs), std::move(replicas), limits).Run();
}

}  // namespace darkroom::scheduler
