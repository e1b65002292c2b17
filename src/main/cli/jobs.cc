#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "main/cli/command.h"
#include "main/cli/output_files.h"

namespace darkroom::cli {
namespace {

// "running" of STATE_RUNNING.
std::string StateName(v1::Generation::State state) {
  const std::string name = v1::Generation::State_Name(state);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "STATE_"));
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixSeconds(time.seconds()),
                          absl::LocalTimeZone());
}

std::string SizeText(const v1::GenerateRequest& request) {
  return absl::StrCat(request.width(), "x", request.height());
}

struct JobsFlags {
  int32_t limit = 20;
  std::vector<std::string> states;
};

absl::Status AddStates(const std::vector<std::string>& names, v1::ListGenerationsRequest& request) {
  for (const std::string& name : names) {
    v1::Generation::State state = v1::Generation::STATE_UNSPECIFIED;
    if (!v1::Generation::State_Parse(absl::StrCat("STATE_", absl::AsciiStrToUpper(name)), &state)) {
      return Error(absl::StatusCode::kInvalidArgument, "FLAG_INVALID",
                   absl::StrCat("--state is \"", Printable(name, 40),
                                "\"; must be queued, running, succeeded, failed or cancelled"));
    }
    request.add_states(state);
  }
  return absl::OkStatus();
}

int RunJobs(const JobsFlags& flags, Session& session) {
  v1::ListGenerationsRequest request;
  if (const absl::Status status = AddStates(flags.states, request); !status.ok()) {
    session.output.Fail(status);
    return kExitUsage;
  }
  std::vector<std::vector<std::string>> rows = {
      {"ID", "STATE", "STEPS", "SIZE", "IMAGES", "MODEL", "CREATED", "PROMPT"}};
  int32_t missing = flags.limit;
  do {
    request.set_page_size(missing);
    const auto page = session.client.ListGenerations(request);
    if (!page.ok()) return session.output.Fail(page.status());
    for (const v1::Generation& generation : page->generations()) {
      if (session.output.json()) {
        session.output.Json(generation);
        continue;
      }
      rows.push_back({IdOf(generation.name()), StateName(generation.state()),
                      absl::StrCat(generation.steps_done(), "/", generation.steps_total()),
                      SizeText(generation.request()),
                      absl::StrCat(generation.request().num_images()),
                      IdOf(generation.request().model()), TimeText(generation.create_time()),
                      Printable(generation.request().prompt(), 32)});
    }
    missing -= page->generations_size();
    request.set_page_token(page->next_page_token());
  } while (missing > 0 && !request.page_token().empty());
  if (!session.output.json()) session.output.Table(rows);
  return 0;
}

// "label: value" lines; empty values are left out.
void PrintDetails(const v1::Generation& generation, const Output& output) {
  const v1::GenerateRequest& request = generation.request();
  std::vector<std::pair<std::string, std::string>> lines = {
      {"name", generation.name()},
      {"state", absl::StrCat(StateName(generation.state()), ", ", generation.steps_done(), " of ",
                             generation.steps_total(), " steps")},
      {"model", request.model()},
      {"prompt", Printable(request.prompt(), 200)},
      {"size", SizeText(request)},
      {"steps", absl::StrCat(request.sampling().steps())},
      {"guidance scale", absl::StrCat(request.sampling().guidance_scale())},
      {"seed", absl::StrCat(request.sampling().seed())},
      {"images", absl::StrCat(request.num_images())},
      {"created", TimeText(generation.create_time())},
      {"numerics id", generation.numerics_id()},
      {"error", Printable(generation.error().message(), 400)},
  };
  for (const auto& result : generation.outputs()) {
    lines.emplace_back(absl::StrCat("output ", result.index()),
                       absl::StrCat(result.media_type(), ", ", result.size_bytes(), " bytes, seed ",
                                    result.seed(), ", sha256 ", result.sha256()));
  }
  if (generation.usage().accelerator_nanos() > 0) {
    lines.emplace_back("accelerator time",
                       absl::StrFormat("%.3f s", generation.usage().accelerator_nanos() / 1e9));
  }
  for (const auto& [label, value] : lines) {
    if (!value.empty()) output.Line(absl::StrFormat("%-17s %s", label + ":", value));
  }
}

// Writes outputs that came inside a generation.
absl::StatusOr<std::vector<std::string>> WriteOutputs(const v1::Generation& generation,
                                                      const std::string& pattern) {
  OutputFiles files(pattern);
  if (absl::Status status = files.Check(generation.outputs_size()); !status.ok()) return status;
  for (const auto& result : generation.outputs()) {
    v1::GenerateEvent::OutputChunk chunk;
    chunk.set_output_index(result.index());
    chunk.set_data(result.data());
    if (absl::Status status = files.Add(chunk); !status.ok()) return status;
  }
  return files.Finish(generation);
}

int RunGet(const std::string& name, const std::string& out, Session& session) {
  auto generation =
      session.client.GetGeneration(GenerationNameOf(session.client.tenant(), name), !out.empty());
  if (!generation.ok()) return session.output.Fail(generation.status());
  std::vector<std::string> paths;
  if (!out.empty()) {
    auto written = WriteOutputs(*generation, out);
    if (!written.ok()) return session.output.Fail(written.status());
    paths = *std::move(written);
    for (auto& result : *generation->mutable_outputs()) result.clear_data();
  }
  if (session.output.json()) {
    session.output.Json(*generation);
  } else {
    PrintDetails(*generation, session.output);
    for (const std::string& path : paths) session.output.Line(path);
  }
  return 0;
}

// All of them, also when one fails; the exit code is the first failure's.
int ForEach(const std::vector<std::string>& names, const Session& session,
            const std::function<int(const std::string&)>& action) {
  int exit_code = 0;
  for (const std::string& name : names) {
    const int result = action(GenerationNameOf(session.client.tenant(), name));
    if (exit_code == 0) exit_code = result;
  }
  return exit_code;
}

int RunCancel(const std::vector<std::string>& names, Session& session) {
  return ForEach(names, session, [&](const std::string& name) {
    const auto generation = session.client.CancelGeneration(name);
    if (!generation.ok()) return session.output.Fail(generation.status());
    if (session.output.json()) {
      session.output.Json(*generation);
    } else {
      session.output.Line(absl::StrCat(IdOf(name), " ", StateName(generation->state())));
    }
    return 0;
  });
}

int RunDelete(const std::vector<std::string>& names, Session& session) {
  return ForEach(names, session, [&](const std::string& name) {
    const absl::Status status = session.client.DeleteGeneration(name);
    if (!status.ok()) return session.output.Fail(status);
    if (session.output.json()) {
      session.output.Line(absl::StrCat("{\"deleted\":", JsonString(name), "}"));
    } else {
      session.output.Line(absl::StrCat(IdOf(name), " deleted"));
    }
    return 0;
  });
}

}  // namespace

void AddJobs(CLI::App& app, Run& run) {
  auto jobs = std::make_shared<JobsFlags>();
  CLI::App* list = app.add_subcommand("jobs", "List generations, newest first");
  list->add_option("--limit", jobs->limit, "At most this many (default 20)");
  list->add_option("--state", jobs->states,
                   "Only queued, running, succeeded, failed or cancelled; may be repeated");
  list->callback(
      [&run, jobs] { run.body = [jobs](Session& session) { return RunJobs(*jobs, session); }; });

  auto name = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  CLI::App* get = app.add_subcommand("get", "Show a generation");
  get->add_option("name", *name, "Name or id of the generation")->required();
  get->add_option("--out", *out, "Also write its outputs; see generate");
  get->callback([&run, name, out] {
    run.body = [name, out](Session& session) { return RunGet(*name, *out, session); };
  });

  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* cancel = app.add_subcommand("cancel", "Cancel generations");
  cancel->add_option("name", *names, "Names or ids")->required();
  cancel->callback([&run, names] {
    run.body = [names](Session& session) { return RunCancel(*names, session); };
  });
  CLI::App* erase = app.add_subcommand("delete", "Delete ended generations with their outputs");
  erase->add_option("name", *names, "Names or ids")->required();
  erase->callback([&run, names] {
    run.body = [names](Session& session) { return RunDelete(*names, session); };
  });
}

}  // namespace darkroom::cli
