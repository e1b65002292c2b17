#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "main/cli/command.h"
#include "main/cli/machine.h"
#include "main/version.h"

namespace darkroom::cli {
namespace {

using Level = Finding::Level;

std::string OwnFolder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

// A server that does not answer, or does not tell us about itself.
Finding ServerWithoutInfo(const Session& session, const absl::Status& models,
                          const absl::Status& info) {
  if (!models.ok()) {
    const bool is_there = ErrorReason(models) != "SERVER_UNREACHABLE";
    return {Level::kMissing, "server", std::string(models.message()),
            is_there ? "give a key: --key-file FILE" : "start one with: darkroomd --model DIR"};
  }
  return {Level::kOk, "server",
          absl::StrCat(session.client.server(), " answers; what it tells operators, at ",
                       session.client.admin_server(), ": ", std::string(info.message())),
          ""};
}

Finding Server(const Session& session, const v1::ServerInfo* info) {
  Finding finding;
  finding.subject = "server";
  int ready = 0;
  for (const auto& worker : info->workers()) {
    ready += worker.state() == v1::ServerInfo::Worker::STATE_READY ? 1 : 0;
  }
  finding.text = absl::StrCat(session.client.server(), ", version ", info->version(), ", ", ready,
                              " of ", info->workers_size(), " workers ready, ", info->jobs_queued(),
                              " jobs queued, ", info->jobs_running(), " running");
  if (info->version() != kVersion) {
    finding.level = Level::kWarning;
    finding.fix = absl::StrCat("this program is ", kVersion, "; use the same version of both");
  }
  if (info->state() == v1::ServerInfo::STATE_DRAINING) {
    finding.level = Level::kWarning;
    finding.fix = "it is shutting down; wait for the next start";
  }
  return finding;
}

std::vector<Finding> Models(const std::vector<v1::Model>& models) {
  if (models.empty()) {
    return {{Level::kMissing, "models", "the server serves none",
             "start it with: darkroomd --model DIR"}};
  }
  std::vector<Finding> findings;
  for (const v1::Model& model : models) {
    Finding finding;
    finding.subject = absl::StrCat("model ", IdOf(model.name()));
    switch (model.state()) {
      case v1::Model::STATE_READY:
        finding.text = absl::StrCat("ready, ", Printable(model.family(), 40), ", ",
                                    model.parameters(), " parameters");
        break;
      case v1::Model::STATE_FAILED:
        finding.level = Level::kMissing;
        finding.text = "failed: " + Printable(model.error(), 400);
        finding.fix = "mend the model's folder and restart darkroomd";
        break;
      default:
        finding.level = Level::kWarning;
        finding.text = "being loaded";
        finding.fix = "wait a little and ask again";
    }
    findings.push_back(finding);
  }
  return findings;
}

void Print(const Finding& finding, const Output& output) {
  const char* level = finding.level == Level::kOk        ? "ok"
                      : finding.level == Level::kWarning ? "warning"
                                                         : "missing";
  if (output.json()) {
    output.Line(absl::StrCat(
        "{\"level\":", JsonString(level), ",\"subject\":", JsonString(finding.subject),
        ",\"text\":", JsonString(finding.text), ",\"fix\":", JsonString(finding.fix), "}"));
    return;
  }
  output.Line(absl::StrFormat("%-8s %-16s %s", level, finding.subject, finding.text));
  if (!finding.fix.empty()) output.Line(absl::StrFormat("%-25s -> %s", "", finding.fix));
}

int RunDoctor(Session& session) {
  std::vector<Finding> findings = InspectMachine(OwnFolder());
  const auto models = session.client.ListModels();
  const auto info = session.client.GetServerInfo();
  findings.push_back(info.ok() ? Server(session, &*info)
                               : ServerWithoutInfo(session, models.status(), info.status()));
  if (models.ok()) {
    for (const Finding& finding : Models(*models)) findings.push_back(finding);
  }
  int exit_code = 0;
  for (const Finding& finding : findings) {
    Print(finding, session.output);
    if (finding.level == Level::kMissing) exit_code = 1;
  }
  if (!session.output.json()) {
    session.output.Line(exit_code == 0 ? "Everything that is needed is there."
                                       : "Something is missing; the arrows tell how to mend it.");
  }
  return exit_code;
}

}  // namespace

void AddDoctor(CLI::App& app, Run& run) {
  CLI::App* command = app.add_subcommand(
      "doctor", "Tell what this machine can do, what is missing and how to mend it");
  command->callback([&run] { run.body = RunDoctor; });
}

}  // namespace darkroom::cli
