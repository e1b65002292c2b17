#include "worker/cost_probe.h"

#include <algorithm>
#include <utility>

#include "worker/limits.h"

namespace darkroom {
namespace {

constexpr double kGainWorthwhile = 1.05;
constexpr int kRuns = 3;

struct Shape {
  int32_t width;
  int32_t height;
  int jobs;
};

// One job at growing size up to the default one, then more jobs of that.
std::vector<Shape> Shapes(const v1::Model& model, int slots) {
  const v1::Model::Limits& limits = model.limits();
  const int32_t multiple = std::max(1, limits.size_multiple_of());
  const int32_t width = std::max(1, model.defaults().width());
  const int32_t height = std::max(1, model.defaults().height());
  std::vector<Shape> shapes;
  for (int32_t size = std::max({1, multiple, limits.size_min()}); size < std::min(width, height);
       size *= 2) {
    if (shapes.size() >= kCostPointsMax / 2) break;
    if ((size - limits.size_min()) % multiple == 0) shapes.push_back({size, size, 1});
  }
  for (int jobs = 1; jobs <= slots && shapes.size() < kCostPointsMax; jobs *= 2) {
    shapes.push_back({width, height, jobs});
  }
  return shapes;
}

// Of one job's encoding, and of a step of all of them; 0 where one failed.
struct Times {
  int64_t encode_ns = 0;
  int64_t step_ns = 0;
};

// Opens the slots, runs up to `kRuns` steps until the deadline, and closes again. The fastest step
// counts.
Times TimeSteps(Pipeline& pipeline, const Shape& shape, int64_t deadline_ns, const Clock& clock) {
  const v1::Model& model = pipeline.model();
  v1::BatchPlan plan;
  std::vector<int> live;
  int opened = 0;
  bool ok = true;
  for (; ok && opened < shape.jobs; ++opened) {
    v1::OpenSlot open;
    open.set_slot(static_cast<uint32_t>(opened));
    open.set_width(shape.width);
    open.set_height(shape.height);
    open.set_steps(kRuns);
    open.set_guidance_scale(std::max(1.0, model.defaults().guidance_scale()));
    open.set_sampler(model.defaults().sampler());
    if (model.classes_size() > 0) open.set_prompt(model.classes(0));
    ok = pipeline.Open(open, {}, {}).ok();
    if (!ok) break;
    v1::PlanJob* job = plan.add_jobs();
    job->set_slot(open.slot());
    job->set_guidance_scale(open.guidance_scale());
    job->set_sampler(open.sampler());
    live.push_back(opened);
  }
  const auto run = [&](v1::Stage stage, int step) {
    plan.set_stage(stage);
    for (v1::PlanJob& job : *plan.mutable_jobs()) job.set_step_index(step);
    std::vector<JobOutcome> outcomes(live.size());
    const absl::Status status = stage == v1::STAGE_ENCODE
                                    ? pipeline.Encode(plan, live, absl::MakeSpan(outcomes))
                                    : pipeline.Denoise(plan, live, absl::MakeSpan(outcomes));
    return status.ok() && std::all_of(outcomes.begin(), outcomes.end(),
                                      [](const JobOutcome& o) { return o.status.ok(); });
  };
  const int64_t encode_start_ns = clock.MonotonicNanos();
  ok = ok && run(v1::STAGE_ENCODE, 0);
  const int64_t encode_ns = (clock.MonotonicNanos() - encode_start_ns) / shape.jobs;
  int64_t best_ns = 0;
  for (int step = 0; ok && step < kRuns; ++step) {
    const int64_t start_ns = clock.MonotonicNanos();
    ok = run(v1::STAGE_DENOISE, step);
    const int64_t took_ns = std::max<int64_t>(1, clock.MonotonicNanos() - start_ns);
    best_ns = step == 0 ? took_ns : std::min(best_ns, took_ns);
    if (start_ns + took_ns >= deadline_ns) break;
  }
  for (int slot = 0; slot < opened; ++slot) pipeline.Close(static_cast<uint32_t>(slot), true);
  return ok ? Times{std::max<int64_t>(1, encode_ns), best_ns} : Times{};
}

}  // namespace

int64_t StepTokens(const v1::Model& model, int32_t token_pixels, int32_t width, int32_t height) {
  const int64_t pixels = std::max(1, token_pixels);
  const int64_t tokens = ((width + pixels - 1) / pixels) * ((height + pixels - 1) / pixels) +
                         model.limits().sequence_length_max();
  const bool by_scale = model.guidance() == v1::Model::GUIDANCE_UNSPECIFIED ||
                        model.guidance() == v1::Model::GUIDANCE_CLASSIFIER_FREE;
  return by_scale && model.defaults().guidance_scale() > 1 ? 2 * tokens : tokens;
}

int64_t KneeTokens(const std::vector<v1::ModelLoaded::CostPoint>& points) {
  if (points.empty()) return 0;
  const auto throughput = [](const v1::ModelLoaded::CostPoint& point) {
    return static_cast<double>(point.tokens()) / static_cast<double>(point.nanos());
  };
  // The smallest size that is within 5% of the best one: a single noisy point cannot end the
  // search early.
  double best = 0;
  for (const auto& point : points) best = std::max(best, throughput(point));
  for (const auto& point : points) {
    if (throughput(point) * kGainWorthwhile >= best) return point.tokens();
  }
  return points.back().tokens();
}

CostCurve MeasureCost(Pipeline& pipeline, int slots, int64_t step_tokens_max, int64_t budget_ns,
                      const Clock& clock) {
  CostCurve curve;
  const int64_t begin_ns = clock.MonotonicNanos();
  int64_t last_ns = 0;
  int64_t last_tokens = 0;
  for (const Shape& shape : Shapes(pipeline.model(), slots)) {
    const int64_t tokens = shape.jobs * StepTokens(pipeline.model(), pipeline.token_pixels(),
                                                   shape.width, shape.height);
    if (tokens <= last_tokens) continue;
    if (step_tokens_max > 0 && tokens > step_tokens_max) break;
    const int64_t left_ns = budget_ns - (clock.MonotonicNanos() - begin_ns);
    const double growth =
        last_tokens == 0 ? 1.0 : static_cast<double>(tokens) / static_cast<double>(last_tokens);
    if (static_cast<double>(last_ns) * growth * kRuns > static_cast<double>(left_ns)) break;
    const Times times = TimeSteps(pipeline, shape, begin_ns + budget_ns, clock);
    const int64_t took_ns = times.step_ns;
    if (took_ns == 0) break;
    // The first alone: later ones find the prompt's embedding where it was kept.
    if (last_tokens == 0) curve.encode_ns = times.encode_ns;
    v1::ModelLoaded::CostPoint point;
    point.set_stage(v1::STAGE_DENOISE);
    point.set_tokens(tokens);
    point.set_nanos(took_ns);
    curve.points.push_back(std::move(point));
    last_ns = took_ns;
    last_tokens = tokens;
  }
  curve.knee_tokens = KneeTokens(curve.points);
  return curve;
}

}  // namespace darkroom
