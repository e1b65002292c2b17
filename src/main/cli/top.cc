#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "main/cli/command.h"
#include "main/cli/names.h"

namespace darkroom::cli {
namespace {

constexpr char kClearScreen[] = "\033[H\033[2J";

struct TopFlags {
  double interval_seconds = 1;
  int count = 0;  // 0: until interrupted on a terminal, otherwise once
};

std::string Lower(const std::string& name, const char* prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

std::string Millis(int64_t nanos) {
  return absl::StrFormat("%.3f", static_cast<double>(nanos) / 1e6);
}

// Of what a worker measured; other stages have none.
std::string Correction(const v1::GetStatusResponse::Cost& cost) {
  return cost.correction() > 0 ? absl::StrFormat("%.3f", cost.correction()) : "-";
}

void ShowTenants(const v1::GetStatusResponse& status, const Output& output) {
  std::vector<std::vector<std::string>> rows = {{"TENANT", "WEIGHT", "GENERATIONS", "QUEUED",
                                                 "RUNNING", "VIRTUAL S", "WITHIN SHARE",
                                                 "CHARGED S", "RESERVED S", "BUDGET S"}};
  for (const auto& tenant : status.tenants()) {
    rows.push_back(
        {IdOf(tenant.name()), absl::StrCat(tenant.weight()), absl::StrCat(tenant.generations()),
         absl::StrCat(tenant.jobs_queued()), absl::StrCat(tenant.jobs_running()),
         absl::StrFormat("%.2f", tenant.virtual_seconds()), tenant.within_share() ? "yes" : "no",
         absl::StrFormat("%.2f", tenant.charged_seconds()),
         absl::StrFormat("%.2f", tenant.reserved_seconds()),
         tenant.has_budget_seconds() ? absl::StrFormat("%.2f", tenant.budget_seconds()) : "-"});
  }
  output.Table(rows);
}

void ShowWorkers(const v1::ServerInfo& server, const Output& output) {
  std::vector<std::vector<std::string>> rows = {
      {"WORKER", "STATE", "MODEL", "BUSY", "RESTARTS", "DEVICE"}};
  for (const auto& worker : server.workers()) {
    rows.push_back({absl::StrCat(worker.id()),
                    Lower(v1::ServerInfo::Worker::State_Name(worker.state()), "STATE_"),
                    IdOf(worker.model()), absl::StrFormat("%.0f %%", 100 * worker.busy_ratio()),
                    absl::StrCat(worker.restarts()), Printable(worker.device(), 40)});
  }
  output.Table(rows);
}

void ShowCosts(const v1::GetStatusResponse& status, const Output& output) {
  std::vector<std::vector<std::string>> rows = {{"MODEL", "STAGE", "PRECISION", "TOKENS",
                                                 "PREDICTED MS", "MEASURED MS", "CORRECTION",
                                                 "QUANTA", "HARDWARE"}};
  for (const auto& cost : status.costs()) {
    rows.push_back({IdOf(cost.model()), Lower(v1::Stage_Name(cost.stage()), "STAGE_"),
                    cost.precision(), absl::StrCat(cost.tokens()), Millis(cost.predicted_nanos()),
                    Millis(cost.measured_nanos()), Correction(cost),
                    absl::StrCat(cost.observations()), Printable(cost.hardware(), 40)});
  }
  output.Table(rows);
}

int ShowOnce(Session& session, bool clear) {
  const auto status = session.client.GetStatus();
  if (!status.ok()) return session.output.Fail(status.status());
  if (session.output.json()) {
    session.output.Json(*status);
    return 0;
  }
  const v1::ServerInfo& server = status->server();
  session.output.Line(absl::StrCat(
      clear ? kClearScreen : "", "darkroomd ", server.version(), ", ",
      Lower(v1::ServerInfo::State_Name(server.state()), "STATE_"), ", ", server.jobs_queued(),
      " queued, ", server.jobs_running(), " running; predictions of whole jobs fall short by ",
      absl::StrFormat("%.1f", 100 * status->prediction_error()), " % at most (99 in 100)"));
  session.output.Line("");
  ShowTenants(*status, session.output);
  session.output.Line("");
  ShowWorkers(server, session.output);
  session.output.Line("");
  ShowCosts(*status, session.output);
  return 0;
}

int RunTop(const TopFlags& flags, Session& session) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  const int count = flags.count == 0 && !terminal ? 1 : flags.count;
  for (int shown = 0; !session.interrupt.cancelled(); ++shown) {
    if (count > 0 && shown == count) return 0;
    if (shown > 0) {
      const absl::Time next = absl::Now() + absl::Seconds(flags.interval_seconds);
      while (absl::Now() < next && !session.interrupt.cancelled()) {
        absl::SleepFor(std::min(absl::Milliseconds(50), next - absl::Now()));
      }
      if (session.interrupt.cancelled()) break;
    }
    if (const int code = ShowOnce(session, terminal && count != 1); code != 0) return code;
  }
  return kExitInterrupted;
}

}  // namespace

void AddTop(CLI::App& app, Run& run) {
  auto flags = std::make_shared<TopFlags>();
  CLI::App* command = app.add_subcommand("top", "Show tenants, workers and what steps cost");
  command
      ->add_option("--interval", flags->interval_seconds, "Seconds between two looks (default 1)")
      ->check(CLI::Range(0.1, 3600.0));
  command
      ->add_option("--count", flags->count,
                   "Looks to take (default: until ctrl-C on a terminal, else one)")
      ->check(CLI::Range(1, 1'000'000));
  command->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunTop(*flags, session); };
    run.handles_interrupt = true;
  });
}

}  // namespace darkroom::cli
