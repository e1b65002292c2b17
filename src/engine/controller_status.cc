// What the controller tells operators.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/wall_time.h"
#include "engine/controller.h"
#include "engine/job_terms.h"
#include "engine/limits.h"

namespace darkroom::engine {

v1::ServerInfo Controller::Describe(Now now) const {
  v1::ServerInfo info;
  bool ready = false;
  fleet_.DescribeWorkers(now.mono_ns, info);
  for (const auto& worker : info.workers()) {
    ready = ready || worker.state() == v1::ServerInfo::Worker::STATE_READY;
  }
  info.set_state(draining_ ? v1::ServerInfo::STATE_DRAINING
                 : ready   ? v1::ServerInfo::STATE_SERVING
                           : v1::ServerInfo::STATE_STARTING);
  *info.mutable_start_time() = ToTimestamp(start_time_);
  const size_t running = scheduler_.running_count();
  info.set_jobs_running(static_cast<int32_t>(running));
  info.set_jobs_queued(static_cast<int32_t>(scheduler_.job_count() - running));
  info.set_generations_recovered(recovered_);
  return info;
}

void Controller::On(StatusReceived event, Now now, Commands& commands) {
  v1::GetStatusResponse status;
  *status.mutable_server() = Describe(now);
  status.set_prediction_error(scheduler_.epsilon());
  for (scheduler::TenantId id = 1; id <= tenants_.size(); ++id) {
    const TenantPolicy& policy = tenants_.PolicyOf(id);
    const auto view = scheduler_.ViewOf(id);
    auto* tenant = status.add_tenants();
    tenant->set_name(absl::StrCat("tenants/", policy.name));
    tenant->set_weight(policy.weight);
    tenant->set_generations(tenants_.live(policy.name));
    tenant->set_jobs_queued(static_cast<int32_t>(view.waiting));
    tenant->set_jobs_running(static_cast<int32_t>(view.running));
    tenant->set_virtual_seconds(view.virtual_ns / 1e9);
    tenant->set_within_share(view.is_protected);
    const scheduler::Escrow::Account account = budgets_.escrow().AccountOf(id);
    if (account.budget_ns) {
      tenant->set_budget_seconds(static_cast<double>(*account.budget_ns) / 1e9);
    }
    tenant->set_charged_seconds(static_cast<double>(account.charged_ns) / 1e9);
    tenant->set_reserved_seconds(static_cast<double>(account.reserved_ns) / 1e9);
  }
  for (const auto& view : scheduler_.Costs()) FillCosts(view, status);
  commands.push_back(ReplyStatus{event.call, std::move(status)});
}

CostBook::Key Controller::CostKeyOf(int64_t hardware, scheduler::ModelId model) const {
  return {fleet_.HardwareName(hardware), fleet_.model(model).description.digest(),
          fleet_.PrecisionOf(model), 1};
}

std::string Controller::CostsText() {
  for (const auto& view : scheduler_.Costs()) {
    if (view.hardware == WorkerFleet::kMediaHardware || view.table->Learned().empty()) continue;
    costs_.Set(CostKeyOf(view.hardware, view.model), {view.table->Points(), view.table->Learned()});
  }
  if (!costs_.empty()) costs_.SetErrors(scheduler_.cost_error().Counts());
  return costs_.empty() ? "" : costs_.Format();
}

void Controller::SaveCostsIfDue(Now now, Commands& commands) {
  if (now.mono_ns < save_costs_at_ns_) return;
  const bool first = save_costs_at_ns_ == 0;
  save_costs_at_ns_ = now.mono_ns + kCostSaveIntervalNs;
  if (first) return;
  std::string text = CostsText();
  if (!text.empty()) commands.push_back(SaveCosts{std::move(text)});
}

void Controller::FillCosts(const scheduler::Scheduler::CostView& view,
                           v1::GetStatusResponse& status) const {
  for (const scheduler::CostLearned& learned : view.table->Learned()) {
    const auto& latest = view.table->LatestOf(learned.stage);
    auto* cost = status.add_costs();
    cost->set_hardware(fleet_.HardwareName(view.hardware));
    if (view.hardware != WorkerFleet::kMediaHardware) {
      cost->set_model(fleet_.model(view.model).description.name());
      cost->set_precision(fleet_.PrecisionOf(view.model));
    }
    cost->set_degree(1);
    cost->set_stage(StageToProto(learned.stage));
    cost->set_tokens(latest.tokens);
    cost->set_predicted_nanos(latest.predicted_ns);
    cost->set_measured_nanos(latest.actual_ns);
    if (view.table->Profiled(learned.stage)) cost->set_correction(learned.correction);
    cost->set_observations(learned.observations);
  }
}

}  // namespace darkroom::engine
