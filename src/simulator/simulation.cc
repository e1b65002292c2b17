#include "simulator/simulation.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <queue>

#include "simulator/random.h"

namespace darkroom::simulator {
namespace {

enum class EventKind : uint8_t { kDone, kLoaded, kGpuLost, kGpuBack, kArrival, kWake };

struct Event {
  int64_t at_ns = 0;
  EventKind kind = EventKind::kArrival;
  uint64_t order = 0;  // of creation: ties are broken the same way each time
  int32_t index = 0;   // the job, the accelerator, or the running quantum
  bool operator>(const Event& other) const {
    if (at_ns != other.at_ns) return at_ns > other.at_ns;
    if (kind != other.kind) return kind > other.kind;
    return order > other.order;
  }
};

class Run {
 public:
  Run(const Workload& workload, Policy& policy, const SimulationOptions& options)
      : workload_(workload),
        policy_(policy),
        options_(options),
        world_{workload, workload.table, 0, {}, {}, {}, {}},
        running_(static_cast<size_t>(workload.gpus)),
        last_(static_cast<size_t>(workload.gpus)) {
    world_.states.resize(workload.jobs.size());
    world_.busy.resize(static_cast<size_t>(workload.gpus), false);
    world_.lost.resize(static_cast<size_t>(workload.gpus), false);
    world_.load_mode = options.load_mode;
    world_.peer_knee_milli_units = options.peer_knee_milli_units;
    blocking_.resize(static_cast<size_t>(workload.gpus));
    Random random(options.seed * 0x9e3779b97f4a7c15ull + 7);
    factors_.reserve(workload.jobs.size());
    for (size_t i = 0; i < workload.jobs.size(); ++i) {
      const double deviation = std::clamp(random.Normal(), -2.5, 2.5);
      factors_.push_back(std::max(0.1, 1.0 + options.cost_error * deviation));
      Push(workload.jobs[i].arrival_ns, EventKind::kArrival, static_cast<int32_t>(i));
    }
    for (const Outage& outage : options.outages) {
      Push(outage.from_ns, EventKind::kGpuLost, outage.gpu);
      Push(outage.until_ns, EventKind::kGpuBack, outage.gpu);
    }
  }

  SimulationResult Go() {
    while (!events_.empty()) {
      world_.now_ns = events_.top().at_ns;
      // Everything of one instant is told before the policy decides.
      while (!events_.empty() && events_.top().at_ns == world_.now_ns) {
        const Event event = events_.top();
        events_.pop();
        Handle(event);
      }
      Decide();
    }
    result_.states = std::move(world_.states);
    result_.end_ns = world_.now_ns;
    return std::move(result_);
  }

 private:
  struct Running {
    Quantum quantum;
    int64_t started_ns = 0;
    bool live = false;
    uint64_t serial = 0;
  };

  // What ran last on an accelerator.
  struct LastQuantum {
    int64_t ended_ns = 0;
    bool video = false;
  };

  void Push(int64_t at_ns, EventKind kind, int32_t index) {
    events_.push({at_ns, kind, ++last_order_, index});
  }

  JobState& state(JobIndex job) { return world_.states[static_cast<size_t>(job)]; }
  const WorkJob& job(JobIndex job) const { return workload_.jobs[static_cast<size_t>(job)]; }

  void Handle(const Event& event) {
    switch (event.kind) {
      case EventKind::kArrival:
        world_.active.push_back(event.index);
        Timed([&] { policy_.OnArrival(world_, event.index); });
        return;
      case EventKind::kDone:
        return Finish(event);
      case EventKind::kGpuLost:
        return Lose(event.index);
      case EventKind::kGpuBack:
        world_.lost[static_cast<size_t>(event.index)] = false;
        policy_.OnGpuBack(world_, event.index);
        return;
      case EventKind::kLoaded: {
        const auto [load, duration_ns] = loads_[static_cast<size_t>(event.index)];
        if (options_.load_mode == LoadMode::kBlock) EndBlocking(load.gpu);
        Timed([&] { policy_.OnLoaded(world_, load, duration_ns); });
        return;
      }
      case EventKind::kWake:
        if (event.at_ns == wake_ns_) wake_ns_ = -1;
        return;
    }
  }

  void Finish(const Event& event) {
    Running& running = running_[static_cast<size_t>(event.index)];
    if (!running.live || running.serial != event.order) return;  // lost meanwhile
    running.live = false;
    const int64_t duration_ns = world_.now_ns - running.started_ns;
    const Quantum quantum = std::move(running.quantum);
    for (int i = 0; i < quantum.degree; ++i) {
      world_.busy[static_cast<size_t>(quantum.gpu) + static_cast<size_t>(i)] = false;
    }
    StartBlocking(quantum.gpu);
    last_[static_cast<size_t>(quantum.gpu)] = {world_.now_ns,
                                               job(quantum.jobs.front()).segments > 1};
    result_.busy_ns += duration_ns * quantum.degree;
    bool ended = false;
    for (const JobIndex index : quantum.jobs) {
      JobState& of = state(index);
      of.running = false;
      of.segments_done += quantum.segments == 0 ? job(index).segments : quantum.segments;
      if (of.segments_done < job(index).segments) continue;
      of.segments_done = 0;
      if (++of.steps_done < job(index).steps) continue;
      of.finished_ns = world_.now_ns;
      ended = true;
    }
    if (ended) {
      std::erase_if(world_.active, [&](JobIndex index) { return state(index).finished_ns >= 0; });
    }
    Timed([&] { policy_.OnDone(world_, quantum, duration_ns); });
  }

  void Lose(int gpu) {
    world_.lost[static_cast<size_t>(gpu)] = true;
    for (Running& running : running_) {
      if (!running.live || gpu < running.quantum.gpu ||
          gpu >= running.quantum.gpu + running.quantum.degree) {
        continue;
      }
      running.live = false;
      for (int i = 0; i < running.quantum.degree; ++i) {
        world_.busy[static_cast<size_t>(running.quantum.gpu) + static_cast<size_t>(i)] = false;
      }
      for (const JobIndex index : running.quantum.jobs) FallBack(state(index));
    }
    // Those that only lay there, between two of their steps.
    for (const JobIndex index : world_.active) {
      if (state(index).gpu == gpu && !state(index).running) FallBack(state(index));
    }
    policy_.OnGpuLost(world_, gpu);
  }

  // The job's latents are lost: it goes on from its last checkpoint.
  void FallBack(JobState& of) const {
    of.running = false;
    of.segments_done = 0;
    of.steps_done -= of.steps_done % options_.checkpoint_steps;
  }

  void Decide() {
    start_.clear();
    refused_.clear();
    Timed([&] { policy_.Decide(world_, start_, refused_); });
    for (const JobIndex index : refused_) state(index).refused = true;
    if (!refused_.empty()) {
      std::erase_if(world_.active, [&](JobIndex index) { return state(index).refused; });
    }
    for (Quantum& quantum : start_) Start(std::move(quantum));
    BeginLoads();
    SetWake();
  }

  int64_t DrawLoad(const Weights& weights) {
    ++(weights.adapter == 0 ? result_.model_loads : result_.adapter_loads);
    return LoadNanos(options_.seed, weights, ++load_counts_[weights]);
  }

  void BeginLoads() {
    std::vector<WeightLoad> loads;
    policy_.TakeLoads(loads);
    for (const WeightLoad& load : loads) {
      const int64_t duration_ns = DrawLoad(load.weights);
      if (options_.load_mode == LoadMode::kBlock) {
        blocking_[static_cast<size_t>(load.gpu)].push_back(loads_.size());
        loads_.emplace_back(load, duration_ns);
        if (!world_.busy[static_cast<size_t>(load.gpu)]) StartBlocking(load.gpu);
        continue;
      }
      Push(world_.now_ns + duration_ns, EventKind::kLoaded, static_cast<int32_t>(loads_.size()));
      loads_.emplace_back(load, duration_ns);
    }
  }

  // Nothing else runs there while a load does; loads come one after the other.
  void StartBlocking(int gpu) {
    auto& waiting = blocking_[static_cast<size_t>(gpu)];
    if (waiting.empty()) return;
    world_.busy[static_cast<size_t>(gpu)] = true;
    Push(world_.now_ns + loads_[waiting.front()].second, EventKind::kLoaded,
         static_cast<int32_t>(waiting.front()));
  }

  void EndBlocking(int gpu) {
    blocking_[static_cast<size_t>(gpu)].pop_front();
    world_.busy[static_cast<size_t>(gpu)] = false;
    StartBlocking(gpu);
  }

  // One wake at a time is on its way, the earliest that was asked for.
  void SetWake() {
    if (world_.active.empty()) return;
    const int64_t wake_ns = policy_.WakeAt(world_);
    if (wake_ns <= world_.now_ns || (wake_ns_ >= 0 && wake_ns_ <= wake_ns)) return;
    wake_ns_ = wake_ns;
    Push(wake_ns, EventKind::kWake, 0);
  }

  void Start(Quantum quantum) {
    for (const Weights& weights : quantum.loads) quantum.delay_ns += DrawLoad(weights);
    ++result_.quanta;
    double milli_units = 0;
    double share = 0;  // of a step
    for (const JobIndex index : quantum.jobs) {
      JobState& of = state(index);
      of.running = true;
      of.gpu = quantum.gpu;
      if (of.first_start_ns < 0) {
        of.first_start_ns = world_.now_ns;
        const LastQuantum& last = last_[static_cast<size_t>(quantum.gpu)];
        const int64_t arrival_ns = job(index).arrival_ns;
        if (last.video && arrival_ns < last.ended_ns && job(index).segments == 1) {
          of.behind_video_ns = last.ended_ns - arrival_ns;
        }
      }
      milli_units +=
          static_cast<double>(job(index).milli_units) * factors_[static_cast<size_t>(index)];
      const int segments =
          quantum.segments == 0 ? job(index).segments - of.segments_done : quantum.segments;
      share = static_cast<double>(segments) / job(index).segments;
    }
    const int64_t step_ns = workload_.table.Nanos(
        std::max<int64_t>(1, static_cast<int64_t>(milli_units)), quantum.degree);
    const auto duration_ns =
        quantum.delay_ns +
        std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(step_ns) * share));
    for (int i = 0; i < quantum.degree; ++i) {
      world_.busy[static_cast<size_t>(quantum.gpu) + static_cast<size_t>(i)] = true;
    }
    Running& running = running_[static_cast<size_t>(quantum.gpu)];
    Push(world_.now_ns + duration_ns, EventKind::kDone, quantum.gpu);
    running = {std::move(quantum), world_.now_ns, true, last_order_};
  }

  template <typename F>
  void Timed(F&& f) {
    if (!options_.time_decisions) return f();
    const auto begin = std::chrono::steady_clock::now();
    f();
    const auto end = std::chrono::steady_clock::now();
    result_.decision_ns.push_back(
        std::chrono::duration_cast<std::chrono::nanoseconds>(end - begin).count());
  }

  const Workload& workload_;
  Policy& policy_;
  const SimulationOptions& options_;
  World world_;
  std::vector<Running> running_;  // by first accelerator
  std::vector<LastQuantum> last_;
  std::vector<double> factors_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  uint64_t last_order_ = 0;
  std::vector<std::pair<WeightLoad, int64_t>> loads_;  // that ever began, with what they take
  std::vector<std::deque<size_t>> blocking_;  // per accelerator: of loads_, the first is under way
  std::map<Weights, int> load_counts_;
  int64_t wake_ns_ = -1;  // the next that was asked for
  std::vector<Quantum> start_;
  std::vector<JobIndex> refused_;
  SimulationResult result_;
};

}  // namespace

std::vector<Outage> OutagesInTurn(const Workload& workload, int64_t for_ns) {
  std::vector<Outage> outages;
  if (workload.jobs.empty()) return outages;
  const int64_t span_ns = workload.jobs.back().arrival_ns;
  for (int gpu = 0; gpu < workload.gpus; ++gpu) {
    const int64_t from_ns = span_ns / workload.gpus * gpu + span_ns / workload.gpus / 2;
    outages.push_back({gpu, from_ns, from_ns + for_ns});
  }
  return outages;
}

SimulationResult Simulate(const Workload& workload, Policy& policy,
                          const SimulationOptions& options) {
  return Run(workload, policy, options).Go();
}

}  // namespace darkroom::simulator
