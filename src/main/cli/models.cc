#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "main/cli/command.h"

namespace darkroom::cli {
namespace {

std::string StateName(v1::Model::State state) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::Model::State_Name(state), "STATE_"));
}

// "128x128, 64 to 256 by 8, square"
std::string SizesText(const v1::Model& model) {
  const v1::Model::Limits& limits = model.limits();
  if (limits.size_max() == 0) return "";
  std::string text = absl::StrCat(model.defaults().width(), "x", model.defaults().height());
  if (limits.size_min() == limits.size_max()) return text + " only";
  absl::StrAppend(&text, ", ", limits.size_min(), " to ", limits.size_max(), " by ",
                  limits.size_multiple_of(), limits.square_only() ? ", square" : "");
  return text;
}

std::string StepsText(const v1::Model& model) {
  if (model.limits().steps_max() == 0) return "";
  return absl::StrCat(model.defaults().steps(), ", up to ", model.limits().steps_max());
}

// "text to image, inpaint"
std::string TasksText(const v1::Model& model) {
  std::vector<std::string> names;
  for (const int task : model.tasks()) {
    names.push_back(absl::StrReplaceAll(absl::AsciiStrToLower(absl::StripPrefix(
                                            v1::Task_Name(static_cast<v1::Task>(task)), "TASK_")),
                                        {{"_", " "}}));
  }
  return absl::StrJoin(names, ", ");
}

// "ddim (default), dpm_solver_pp_2m"
std::string SamplersText(const v1::Model& model) {
  std::vector<std::string> names(model.samplers().begin(), model.samplers().end());
  if (names.empty()) names.push_back(model.defaults().sampler());
  names.front() += names.size() > 1 ? " (default)" : "";
  return absl::StrJoin(names, ", ");
}

std::string TokensText(const v1::Model& model) {
  const int32_t max = model.limits().sequence_length_max();
  return max == 0 ? "" : absl::StrCat("up to ", max);
}

int ListModels(Session& session) {
  const auto models = session.client.ListModels();
  if (!models.ok()) return session.output.Fail(models.status());
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "STATE", "FAMILY", "SIZE", "STEPS", "PROMPT"}};
  for (const v1::Model& model : *models) {
    if (session.output.json()) {
      session.output.Json(model);
      continue;
    }
    rows.push_back({IdOf(model.name()), StateName(model.state()), Printable(model.family(), 40),
                    SizesText(model), StepsText(model),
                    model.classes_size() == 0
                        ? "text"
                        : absl::StrCat("one of ", model.classes_size(), " classes")});
  }
  if (!session.output.json()) session.output.Table(rows);
  return 0;
}

// Empty where a request that asks for it would have no effect.
std::string GuidanceText(const v1::Model& model) {
  if (model.guidance() == v1::Model::GUIDANCE_NONE) return "";
  return absl::StrCat(model.defaults().guidance_scale());
}

std::string TrueCfgText(const v1::Model& model) {
  if (model.guidance() == v1::Model::GUIDANCE_CLASSIFIER_FREE) return "";
  return absl::StrCat(model.defaults().true_cfg_scale());
}

int ShowModel(const std::string& name, Session& session) {
  const auto model = session.client.GetModel(ModelNameOf(name));
  if (!model.ok()) return session.output.Fail(model.status());
  if (session.output.json()) {
    session.output.Json(*model);
    return 0;
  }
  const std::vector<std::pair<std::string, std::string>> lines = {
      {"name", model->name()},
      {"state", StateName(model->state())},
      {"error", model->error()},
      {"family", model->family()},
      {"parameters", absl::StrCat(model->parameters())},
      {"size", SizesText(*model)},
      {"steps", StepsText(*model)},
      {"guidance scale", GuidanceText(*model)},
      {"true CFG scale", TrueCfgText(*model)},
      {"tasks", TasksText(*model)},
      {"samplers", SamplersText(*model)},
      {"prompt tokens", TokensText(*model)},
      {"images", absl::StrCat("up to ", model->limits().images_max())},
      {"precision", model->precision()},
      {"license", model->license()},
      {"digest", model->digest()},
      {"numerics id", model->numerics_id()},
  };
  for (const auto& [label, value] : lines) {
    if (value.empty()) continue;
    session.output.Line(
        absl::StrCat(label, ":", std::string(17 - label.size(), ' '), Printable(value, 400)));
  }
  if (model->classes_size() > 0) session.output.Line("classes:");
  for (const std::string& name_of_class : model->classes()) {
    session.output.Line("  " + Printable(name_of_class, 400));
  }
  return 0;
}

}  // namespace

void AddModels(CLI::App& app, Run& run) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("models", "List models, or show one with its classes");
  command->add_option("name", *name, "Name or id of a model");
  command->callback([&run, name] {
    run.body = [name](Session& session) {
      return name->empty() ? ListModels(session) : ShowModel(*name, session);
    };
  });
}

}  // namespace darkroom::cli
