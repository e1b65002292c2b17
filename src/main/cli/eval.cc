#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "device/cpu/cpu_ops.h"
#include "evaluation/caption_scorer.h"
#include "evaluation/contact_sheet.h"
#include "evaluation/evaluation.h"
#include "evaluation/mode.h"
#include "evaluation/report.h"
#include "main/cli/command.h"
#include "main/cli/output_files.h"
#include "main/cli/picture_batch.h"
#include "main/cli/private_daemon.h"
#include "main/cli/progress_bar.h"
#include "main/cli/sampling_flags.h"
#include "main/limits.h"

namespace darkroom::cli {
namespace {

constexpr absl::Duration kReadyPoll = absl::Milliseconds(100);

struct EvalFlags {
  std::string model;
  std::string model_path;
  std::string modes = "exact,bf16";
  std::string scorer;
  int prompts = 0;
  int in_flight = 4;
  int wait_seconds = 60;
  std::string sheet;
  std::string output;
  std::shared_ptr<SamplingFlags> sampling = std::make_shared<SamplingFlags>();
};

absl::Status CheckFlags(const EvalFlags& flags) {
  if (!flags.model.empty() && !flags.model_path.empty()) {
    return UsageError("--model names a served model and --model-path a folder: give one of them");
  }
  if (flags.scorer.empty() && flags.model_path.empty()) {
    return UsageError(
        "--scorer is needed: the folder of the caption scorer, for example "
        "deploy/models/emoji/scorer");
  }
  if (flags.in_flight < 1 || flags.in_flight > kEvalInFlightMax) {
    return UsageError(
        absl::StrCat("--in-flight is ", flags.in_flight, "; must be 1 to ", kEvalInFlightMax,
                     "; nearest: ", std::clamp(flags.in_flight, 1, kEvalInFlightMax)));
  }
  return absl::OkStatus();
}

// What cannot be written is said before anything is generated.
absl::Status CheckDestinations(const EvalFlags& flags) {
  if (!flags.sheet.empty()) {
    if (absl::Status status = OutputFiles(flags.sheet).Check(1); !status.ok()) return status;
  }
  if (flags.output.empty()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(flags.output, error);
  if (!error && ::access(flags.output.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return Error(absl::StatusCode::kPermissionDenied, "FILE_NOT_WRITABLE",
               absl::StrCat("cannot write into ", flags.output, ": ",
                            error ? error.message() : std::strerror(errno)));
}

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  if (file) return absl::OkStatus();
  return Error(absl::StatusCode::kPermissionDenied, "FILE_NOT_WRITABLE",
               absl::StrCat("cannot write ", path));
}

// "012-red-apple.png"
std::string PictureFileName(size_t index, const std::string& caption) {
  std::string name = absl::StrFormat("%03d-", index);
  for (const char c : caption.substr(0, 60)) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (plain || name.back() != '-') name += plain ? c : '-';
  }
  while (name.back() == '-') name.pop_back();
  return name + ".png";
}

// The models that run the modes, in their order, once the server has loaded them.
absl::StatusOr<std::vector<v1::Model>> FindModels(const std::vector<ModeChoice>& choices,
                                                  const EvalFlags& flags, Client& client,
                                                  const Canceller& interrupt) {
  const std::string meant = flags.model_path.empty() ? ModelNameOf(flags.model) : "";
  const absl::Time give_up = absl::Now() + absl::Seconds(flags.wait_seconds);
  while (true) {
    const absl::StatusOr<std::vector<v1::Model>> served = client.ListModels();
    if (!served.ok()) return served.status();
    const bool loading = std::any_of(served->begin(), served->end(), [](const v1::Model& model) {
      return model.state() == v1::Model::STATE_LOADING;
    });
    if (!loading || absl::Now() > give_up) {
      std::vector<v1::Model> models;
      for (const ModeChoice& choice : choices) {
        absl::StatusOr<v1::Model> model =
            FindModel({choice.mode, ModelNameOf(choice.model)}, meant, *served);
        if (!model.ok()) return model.status();
        models.push_back(*std::move(model));
      }
      return models;
    }
    if (interrupt.cancelled()) return absl::CancelledError("interrupted");
    absl::SleepFor(kReadyPoll);
  }
}

// One evaluation on its way.
class EvalRun {
 public:
  EvalRun(const EvalFlags& flags, CaptionScorer& scorer, std::vector<ModeDescription> modes,
          v1::GenerateRequest request, std::vector<size_t> prompts)
      : flags_(flags),
        scorer_(scorer),
        modes_(modes),
        request_(std::move(request)),
        prompts_(std::move(prompts)),
        evaluation_(scorer, modes),
        sheet_(NamesOf(modes)) {}

  // Generates and measures everything, or what comes before an error or `session.interrupt`
  // (CANCELLED). Modes take turns after every few prompts, so that a machine that grows slower does
  // so for all of them, and an interruption leaves all with the same prompts.
  absl::Status Run(Session& session, Client& client);
  // Tells the figures and writes the files; nothing when no prompt was finished.
  absl::Status Conclude(const Session& session);

 private:
  static std::vector<std::string> NamesOf(const std::vector<ModeDescription>& modes) {
    std::vector<std::string> names;
    for (const ModeDescription& mode : modes) names.push_back(mode.name);
    return names;
  }
  absl::Status RunBlock(absl::Span<const size_t> prompts, Session& session, Client& client,
                        ProgressBar& bar);
  absl::Status Finish(size_t prompt, absl::Span<const TimedPicture> pictures);
  std::string Settings() const;

  const EvalFlags& flags_;
  CaptionScorer& scorer_;
  const std::vector<ModeDescription> modes_;
  const v1::GenerateRequest request_;
  const std::vector<size_t> prompts_;
  Evaluation evaluation_;
  ContactSheet sheet_;
  int64_t generated_ = 0;
  std::optional<v1::Generation> last_;  // for its resolved request
};

absl::Status EvalRun::Run(Session& session, Client& client) {
  ProgressBar bar(!session.output.json());
  const absl::Span<const size_t> all = prompts_;
  for (size_t at = 0; at < all.size(); at += static_cast<size_t>(flags_.in_flight)) {
    const absl::Span<const size_t> block = all.subspan(at, static_cast<size_t>(flags_.in_flight));
    absl::Status status = RunBlock(block, session, client, bar);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status EvalRun::RunBlock(absl::Span<const size_t> prompts, Session& session, Client& client,
                               ProgressBar& bar) {
  std::vector<std::vector<TimedPicture>> pictures(prompts.size());  // by prompt, then mode
  for (const ModeDescription& mode : modes_) {
    bar.Show(absl::StrCat(mode.name, ": ", generated_, " of ", prompts_.size() * modes_.size(),
                          " pictures"));
    std::vector<v1::GenerateRequest> requests;
    for (const size_t prompt : prompts) {
      v1::GenerateRequest& request = requests.emplace_back(request_);
      request.set_model(mode.model);
      request.set_prompt(scorer_.captions()[prompt].text);
      request.mutable_sampling()->set_seed(request_.sampling().seed() +
                                           static_cast<int64_t>(prompt));
    }
    std::vector<GeneratedPicture> generated = GeneratePictures(client, requests, session.interrupt);
    if (session.interrupt.cancelled()) return absl::CancelledError("interrupted");
    // What failed first, not what was broken off because of it.
    for (const bool cancelled_too : {false, true}) {
      for (const GeneratedPicture& picture : generated) {
        if (!picture.status.ok() && (cancelled_too || !absl::IsCancelled(picture.status))) {
          return picture.status;
        }
      }
    }
    for (size_t i = 0; i < generated.size(); ++i) {
      absl::StatusOr<RgbPicture> decoded = DecodeRgb(generated[i].bytes);
      if (!decoded.ok()) return decoded.status();
      if (!flags_.output.empty()) {
        const std::string file =
            absl::StrCat(flags_.output, "/", mode.name, "/",
                         PictureFileName(prompts[i], scorer_.captions()[prompts[i]].text));
        if (absl::Status status = WriteFile(file, generated[i].bytes); !status.ok()) return status;
      }
      const auto nanos = generated[i].generation.usage().accelerator_nanos();
      pictures[i].push_back(
          {*std::move(decoded), static_cast<double>(nanos) * 1e-9, generated[i].wall_seconds});
      last_ = std::move(generated[i].generation);
      ++generated_;
    }
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (absl::Status status = Finish(prompts[i], pictures[i]); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status EvalRun::Finish(size_t prompt, absl::Span<const TimedPicture> pictures) {
  if (absl::Status status = evaluation_.Add(prompt, pictures); !status.ok()) return status;
  if (flags_.sheet.empty() || sheet_.full()) return absl::OkStatus();
  std::vector<const RgbPicture*> cells;
  for (const TimedPicture& picture : pictures) cells.push_back(&picture.picture);
  sheet_.Add(scorer_.captions()[prompt].text, cells);
  return absl::OkStatus();
}

std::string EvalRun::Settings() const {
  if (!last_) return "";
  const v1::GenerateRequest& request = last_->request();
  const v1::Sampling& sampling = request.sampling();
  return absl::StrCat(request.width(), "x", request.height(), ", ", sampling.steps(), " steps, ",
                      sampling.sampler(), ", guidance scale ", sampling.guidance_scale(),
                      ", true CFG scale ", sampling.true_cfg_scale(), ", seeds from ",
                      request_.sampling().seed(), ", up to ", flags_.in_flight, " at once");
}

absl::Status EvalRun::Conclude(const Session& session) {
  Report report = evaluation_.MakeReport();
  if (report.prompts == 0) return absl::OkStatus();
  report.settings = Settings();
  session.output.Note(absl::StrCat(report.prompts, " prompts of ", prompts_.size(),
                                   ", a gallery of ", report.gallery, " captions; ",
                                   report.settings));
  if (session.output.json()) {
    session.output.Line(ReportJson(report));
  } else {
    session.output.Table(ReportTable(report));
  }
  if (!flags_.output.empty()) {
    absl::Status status = WriteFile(flags_.output + "/report.json", ReportJson(report) + "\n");
    if (!status.ok()) return status;
  }
  if (flags_.sheet.empty()) return absl::OkStatus();
  const absl::StatusOr<std::string> png = sheet_.Png();
  if (!png.ok()) return png.status();
  if (absl::Status status = WriteFile(flags_.sheet, *png); !status.ok()) return status;
  session.output.Note(absl::StrCat("contact sheet: ", flags_.sheet));
  return absl::OkStatus();
}

// What all requests have in common.
absl::StatusOr<v1::GenerateRequest> CommonRequest(const EvalFlags& flags) {
  v1::GenerateRequest request;
  if (absl::Status status = FillSampling(*flags.sampling, request); !status.ok()) return status;
  // The same pictures every time.
  if (!flags.sampling->seed) request.mutable_sampling()->set_seed(0);
  request.mutable_output()->set_omit_metadata(true);
  return request;
}

absl::Status MakeFolders(const EvalFlags& flags, const std::vector<ModeChoice>& choices) {
  for (const ModeChoice& choice : choices) {
    if (flags.output.empty()) break;
    std::error_code error;
    const std::string folder = absl::StrCat(flags.output, "/", std::string(choice.mode.name));
    std::filesystem::create_directories(folder, error);
    if (!error) continue;
    return Error(absl::StatusCode::kPermissionDenied, "FILE_NOT_WRITABLE",
                 absl::StrCat("cannot make ", folder, ": ", error.message()));
  }
  return absl::OkStatus();
}

// With a client of whichever server serves the models.
absl::Status EvaluateWith(Client& client, const EvalFlags& flags,
                          const std::vector<ModeChoice>& choices, CaptionScorer& scorer,
                          const v1::GenerateRequest& request, Session& session) {
  absl::StatusOr<std::vector<size_t>> prompts = ChoosePrompts(scorer.captions(), flags.prompts);
  if (!prompts.ok()) return prompts.status();
  const auto models = FindModels(choices, flags, client, session.interrupt);
  if (!models.ok()) return models.status();
  std::vector<ModeDescription> modes;
  for (size_t i = 0; i < choices.size(); ++i) {
    const v1::Model& model = (*models)[i];
    modes.push_back(
        {std::string(choices[i].mode.name), model.name(), model.precision(), model.numerics_id()});
    const bool sized = request.width() > 0;
    absl::Status status = scorer.CheckSize(sized ? request.width() : model.defaults().width(),
                                           sized ? request.height() : model.defaults().height());
    if (!status.ok()) return status;
  }
  EvalRun run(flags, scorer, std::move(modes), request, *std::move(prompts));
  const absl::Status status = run.Run(session, client);
  // Also after an error: what there is cost time.
  const absl::Status concluded = run.Conclude(session);
  return status.ok() ? concluded : status;
}

absl::Status Evaluate(const EvalFlags& flags, const std::vector<ModeChoice>& choices,
                      const v1::GenerateRequest& request, Session& session) {
  absl::Status status = CheckDestinations(flags);
  if (status.ok()) status = MakeFolders(flags, choices);
  if (!status.ok()) return status;
  const auto ops = CreateCpuOps(static_cast<int>(std::thread::hardware_concurrency()));
  const std::string folder = flags.scorer.empty() ? flags.model_path + "/scorer" : flags.scorer;
  const auto scorer = CaptionScorer::Open(folder, *ops);
  if (!scorer.ok()) {
    return Error(scorer.status().code(), "SCORER_INVALID",
                 absl::StrCat("the scorer in ", folder,
                              " cannot be used: ", std::string(scorer.status().message())));
  }
  if (flags.model_path.empty()) {
    return EvaluateWith(session.client, flags, choices, **scorer, request, session);
  }
  std::vector<std::string> precisions;
  for (const ModeChoice& choice : choices) {
    const std::string precision(choice.mode.precision);
    if (std::find(precisions.begin(), precisions.end(), precision) == precisions.end()) {
      precisions.push_back(precision);
    }
  }
  session.output.Note("starting a daemon for this evaluation");
  const auto daemon = PrivateDaemon::Start(flags.model_path, precisions, session.interrupt);
  if (!daemon.ok()) return daemon.status();
  Client client((*daemon)->server());
  status = EvaluateWith(client, flags, choices, **scorer, request, session);
  return session.interrupt.cancelled() ? status : (*daemon)->Explain(status);
}

int RunEval(const EvalFlags& flags, Session& session) {
  absl::Status status = CheckFlags(flags);
  const absl::StatusOr<std::vector<ModeChoice>> choices = ParseModes(flags.modes);
  if (status.ok()) status = choices.status();
  const absl::StatusOr<v1::GenerateRequest> request = CommonRequest(flags);
  if (status.ok()) status = request.status();
  if (!status.ok()) {
    session.output.Fail(status);
    return kExitUsage;
  }
  status = Evaluate(flags, *choices, *request, session);
  if (session.interrupt.cancelled()) return kExitInterrupted;
  return status.ok() ? 0 : session.output.Fail(status);
}

}  // namespace

void AddEval(CLI::App& app, Run& run) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command = app.add_subcommand(
      "eval",
      "Compare ways to run a model: speed, distance to the exact pictures, and how well "
      "the pictures show their prompts");
  command->add_option("--model", flags->model, "Model that is served (see `models`)");
  command->add_option("--model-path", flags->model_path,
                      "Folder of a model, in place of a server: a daemon is started for it");
  command->add_option("--modes", flags->modes,
                      "Modes to compare, MODE or MODE=MODEL: exact, bf16 (default exact,bf16)");
  command->add_option("--scorer", flags->scorer,
                      "Folder of the caption scorer (default: scorer in --model-path)");
  command->add_option("--prompts", flags->prompts,
                      "How many of the scorer's captions are prompts (default all)");
  command->add_option("--in-flight", flags->in_flight, "Pictures generated at once (default 4)");
  command->add_option("--wait", flags->wait_seconds,
                      "Seconds to wait while models are loading (default 60)");
  command->add_option("--sheet", flags->sheet, "Contact sheet to write, a PNG");
  command->add_option("--output", flags->output, "Folder for all pictures and report.json");
  AddSamplingOptions(command, "Seed of the first caption; the next has the next (default 0)",
                     flags->sampling);
  command->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunEval(*flags, session); };
    run.handles_interrupt = true;
  });
}

}  // namespace darkroom::cli
