#include "simulator/policies/tetriserve_policy.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace darkroom::simulator {
namespace {

// Steps of the slowest picture that a round holds: the paper's figure 15 finds 5 best.
constexpr int kStepsPerRound = 5;

const WorkJob& JobOf(const World& world, JobIndex job) {
  return world.workload.jobs[static_cast<size_t>(job)];
}

int64_t StepNanos(const World& world, JobIndex job, int degree) {
  return world.table.Nanos(JobOf(world, job).milli_units, degree);
}

int64_t FastestNanos(const World& world, JobIndex job, int gpus) {
  return world.table.FastestNanos(JobOf(world, job).milli_units, gpus);
}

}  // namespace

void TetriServePolicy::OnGpuLost(const World&, int) {
  // What ran there is planned anew when the others of the round have ended.
  shares_.clear();
}

int64_t TetriServePolicy::WakeAt(const World&) const { return round_ends_ns_; }

int64_t TetriServePolicy::RoundNanos(const World& world) const {
  int64_t slowest_ns = 1;
  for (const WorkJob& job : world.workload.jobs) {
    slowest_ns =
        std::max(slowest_ns, world.table.FastestNanos(job.milli_units, world.workload.gpus));
  }
  return kStepsPerRound * slowest_ns;
}

int32_t TetriServePolicy::StepsOfRound(const World& world, JobIndex job, int degree) const {
  const int64_t fit = round_ns_ / std::max<int64_t>(1, StepNanos(world, job, degree));
  return static_cast<int32_t>(std::min<int64_t>(world.StepsLeft(job), fit));
}

TetriServePolicy::Choice TetriServePolicy::ChoicesOf(const World& world, JobIndex job,
                                                     int gpus) const {
  Choice choice;
  choice.job = job;
  const int32_t steps = world.StepsLeft(job);
  const int64_t left_ns = JobOf(world, job).deadline_ns - world.now_ns;
  const int64_t fastest_ns = FastestNanos(world, job, gpus);
  // The cheapest split of its steps over two degrees that is in time.
  int64_t least = std::numeric_limits<int64_t>::max();
  std::pair<int, int> best{0, 0};
  for (const int low : world.table.degrees()) {
    for (const int high : world.table.degrees()) {
      if (low > gpus || high > gpus || high < low) continue;
      for (int32_t at_high = 0; at_high <= steps; ++at_high) {
        const int64_t low_ns = (steps - at_high) * StepNanos(world, job, low);
        const int64_t high_ns = at_high * StepNanos(world, job, high);
        const int64_t cost = low * low_ns + high * high_ns;
        if (low_ns + high_ns > left_ns || cost >= least) continue;
        least = cost;
        best = {at_high == steps ? high : low, at_high == 0 ? low : high};
      }
    }
  }
  choice.late = best.first == 0;
  choice.waits_in_time = round_ns_ + steps * fastest_ns <= left_ns;
  if (choice.late) return choice;
  choice.degrees.push_back(best.first);
  if (best.second != best.first) choice.degrees.push_back(best.second);
  std::erase_if(choice.degrees, [&](int degree) { return StepsOfRound(world, job, degree) == 0; });
  for (const int degree : choice.degrees) {
    const int32_t after = steps - StepsOfRound(world, job, degree);
    choice.in_time.push_back(round_ns_ + after * fastest_ns <= left_ns || after == 0);
  }
  return choice;
}

void TetriServePolicy::Knapsack(const World& world, const std::vector<Choice>& choices, int gpus) {
  constexpr int kNever = std::numeric_limits<int>::min() / 2;
  const auto width = static_cast<size_t>(gpus) + 1;
  std::vector<int> most(width, kNever);
  most[0] = 0;
  // [picture][accelerators used]: the degree that it got, 0 for none.
  std::vector<std::vector<int>> taken;
  for (const Choice& choice : choices) {
    std::vector<int> next(width, kNever);
    std::vector<int> took(width, 0);
    for (size_t used = 0; used < width; ++used) {
      next[used] = most[used] + (choice.waits_in_time ? 1 : 0);
      for (size_t i = 0; i < choice.degrees.size(); ++i) {
        const auto degree = static_cast<size_t>(choice.degrees[i]);
        if (degree > used) continue;
        const int value = most[used - degree] + (choice.in_time[i] ? 1 : 0);
        if (value <= next[used]) continue;
        next[used] = value;
        took[used] = choice.degrees[i];
      }
    }
    taken.push_back(std::move(took));
    most = std::move(next);
  }
  auto used = static_cast<size_t>(std::max_element(most.begin(), most.end()) - most.begin());
  for (size_t i = choices.size(); i-- > 0;) {
    const int degree = taken[i][used];
    if (degree == 0) continue;
    shares_.push_back({choices[i].job, degree, -1, StepsOfRound(world, choices[i].job, degree)});
    used -= static_cast<size_t>(degree);
  }
}

void TetriServePolicy::UseIdle(const World& world, const std::vector<Choice>& choices, int gpus) {
  int idle = gpus;
  for (const Share& share : shares_) idle -= share.degree;
  // First those that were left out: in time with the degree of their plan, the late with one.
  for (const bool late : {false, true}) {
    for (const Choice& choice : choices) {
      const bool served = std::any_of(shares_.begin(), shares_.end(),
                                      [&](const Share& share) { return share.job == choice.job; });
      if (served || choice.late != late) continue;
      const int degree = late || choice.degrees.empty() ? 1 : choice.degrees.front();
      const int32_t steps = std::max(1, StepsOfRound(world, choice.job, degree));
      if (degree > idle) continue;
      shares_.push_back({choice.job, degree, -1, steps});
      idle -= degree;
    }
  }
  // Then who gains most by twice as many.
  while (idle > 0) {
    Share* best = nullptr;
    int64_t most_ns = 0;
    for (Share& share : shares_) {
      if (share.degree > idle || StepsOfRound(world, share.job, share.degree * 2) == 0) continue;
      const int64_t gain_ns =
          world.StepsLeft(share.job) * (StepNanos(world, share.job, share.degree) -
                                        StepNanos(world, share.job, share.degree * 2));
      if (gain_ns <= most_ns) continue;
      most_ns = gain_ns;
      best = &share;
    }
    if (best == nullptr) break;
    idle -= best->degree;
    best->degree *= 2;
    best->steps = StepsOfRound(world, best->job, best->degree);
  }
}

// The widest first, each on aligned accelerators and where it was if they are free: what is left
// over is then always wide enough for the next.
void TetriServePolicy::Place(const World& world) {
  std::vector<bool> taken = world.lost;
  const auto free = [&](int gpu, int degree) {
    if (gpu + degree > world.workload.gpus) return false;
    return std::none_of(taken.begin() + gpu, taken.begin() + gpu + degree,
                        [](bool is_taken) { return is_taken; });
  };
  std::stable_sort(shares_.begin(), shares_.end(),
                   [](const Share& a, const Share& b) { return a.degree > b.degree; });
  for (Share& share : shares_) {
    const int before = world.states[static_cast<size_t>(share.job)].gpu;
    if (before >= 0 && free(before / share.degree * share.degree, share.degree)) {
      share.gpu = before / share.degree * share.degree;
    }
    for (int gpu = 0; share.gpu < 0 && gpu < world.workload.gpus; gpu += share.degree) {
      if (free(gpu, share.degree)) share.gpu = gpu;
    }
    if (share.gpu < 0) continue;  // an accelerator is lost, and with it every wide enough block
    std::fill(taken.begin() + share.gpu, taken.begin() + share.gpu + share.degree, true);
  }
  std::erase_if(shares_, [](const Share& share) { return share.gpu < 0; });
}

void TetriServePolicy::PlanRound(const World& world) {
  round_ns_ = round_ns_ == 0 ? RoundNanos(world) : round_ns_;
  round_ends_ns_ = world.now_ns + round_ns_;
  shares_.clear();
  const auto gpus = static_cast<int>(std::count(world.lost.begin(), world.lost.end(), false));
  std::vector<Choice> choices;
  for (const JobIndex job : world.active) choices.push_back(ChoicesOf(world, job, gpus));
  std::stable_sort(choices.begin(), choices.end(), [&](const Choice& a, const Choice& b) {
    return JobOf(world, a.job).deadline_ns < JobOf(world, b.job).deadline_ns;
  });
  Knapsack(world, choices, gpus);
  UseIdle(world, choices, gpus);
  Place(world);
}

void TetriServePolicy::Decide(const World& world, std::vector<Quantum>& start,
                              std::vector<JobIndex>&) {
  const bool runs =
      std::any_of(world.busy.begin(), world.busy.end(), [](bool busy) { return busy; });
  const bool more = std::any_of(shares_.begin(), shares_.end(), [&](const Share& share) {
    return share.steps > 0 && world.states[static_cast<size_t>(share.job)].finished_ns < 0;
  });
  if (!runs && (world.now_ns >= round_ends_ns_ || !more)) PlanRound(world);
  for (Share& share : shares_) {
    const JobState& state = world.states[static_cast<size_t>(share.job)];
    if (share.steps == 0 || state.running || state.finished_ns >= 0) continue;
    if (world.busy[static_cast<size_t>(share.gpu)]) continue;
    --share.steps;
    Quantum quantum;
    quantum.gpu = share.gpu;
    quantum.degree = share.degree;
    quantum.jobs.push_back(share.job);
    start.push_back(std::move(quantum));
  }
}

}  // namespace darkroom::simulator
