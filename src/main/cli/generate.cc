#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/wall_time.h"
#include "main/cli/command.h"
#include "main/cli/follower.h"
#include "main/cli/input_file.h"
#include "main/cli/previews.h"
#include "main/cli/promise_flags.h"
#include "main/cli/sampling_flags.h"

namespace darkroom::cli {
namespace {

constexpr char kDefaultOut[] = "{id}-{index}.png";
constexpr absl::Duration kReconnectDelay = absl::Seconds(1);

struct GenerateFlags {
  std::string model;
  std::string prompt;
  std::shared_ptr<SamplingFlags> sampling = std::make_shared<SamplingFlags>();
  std::shared_ptr<PromiseFlags> promise = std::make_shared<PromiseFlags>();
  int32_t num_images = 0;
  std::string out = kDefaultOut;
  std::string request_id;
  std::vector<std::string> labels;
  bool no_metadata = false;
  bool validate_only = false;
  int wait_seconds = 60;
  int32_t preview_every = 0;
  std::string preview_dir;
  // edit only
  std::string init;
  std::string mask;
  std::string mask_polarity;
  std::optional<double> strength;
  bool no_overlay = false;
};

// A random UUID (version 4).
std::string NewRequestId() {
  std::random_device device;  // the system's own source
  std::array<uint32_t, 4> bits{};
  for (uint32_t& word : bits) word = device();
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%04x%08x", bits[0], bits[1] >> 16, bits[1] & 0xfff,
                         0x8000 | (bits[2] >> 16 & 0x3fff), bits[2] & 0xffff, bits[3]);
}

absl::Status ParsePolarity(const GenerateFlags& flags, v1::InputImage& mask) {
  if (flags.mask_polarity == "white") mask.set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED);
  if (flags.mask_polarity == "black") mask.set_polarity(v1::MASK_POLARITY_BLACK_IS_PAINTED);
  if (flags.mask_polarity == "transparent") {
    mask.set_polarity(v1::MASK_POLARITY_TRANSPARENT_IS_PAINTED);
  }
  if (mask.polarity() != v1::MASK_POLARITY_UNSPECIFIED) return absl::OkStatus();
  return UsageError(absl::StrCat(
      flags.mask_polarity.empty()
          ? "--mask needs --mask-polarity"
          : absl::StrCat("--mask-polarity is \"", Printable(flags.mask_polarity, 40), "\""),
      "; must be white, black or transparent: what of the mask is painted anew"));
}

absl::Status AddPictures(const GenerateFlags& flags, Client& client, v1::GenerateRequest& request) {
  if (flags.init.empty()) return absl::OkStatus();
  // The command line first: files are read, and perhaps uploaded, for one that is right.
  if (flags.mask.empty() && (!flags.mask_polarity.empty() || flags.no_overlay)) {
    return UsageError("--mask-polarity and --no-overlay need --mask");
  }
  v1::InputImage where;
  where.set_role(v1::INPUT_ROLE_MASK);
  if (!flags.mask.empty()) {
    if (absl::Status status = ParsePolarity(flags, where); !status.ok()) return status;
  }
  if (flags.strength) request.mutable_sampling()->set_strength(*flags.strength);
  v1::InputImage& init = *request.add_inputs();
  init.set_role(v1::INPUT_ROLE_INIT);
  if (absl::Status status = AttachPicture(flags.init, client, init); !status.ok()) return status;
  if (flags.mask.empty()) return absl::OkStatus();
  v1::InputImage& mask = *request.add_inputs();
  mask = where;
  if (flags.no_overlay) request.set_mask_overlay(false);
  return AttachPicture(flags.mask, client, mask);
}

absl::StatusOr<v1::GenerateRequest> RequestOf(const GenerateFlags& flags) {
  v1::GenerateRequest request;
  request.set_model(ModelNameOf(flags.model));
  request.set_prompt(flags.prompt);
  if (absl::Status status = FillSampling(*flags.sampling, request); !status.ok()) return status;
  if (absl::Status status = FillPromise(*flags.promise, absl::Now(), request); !status.ok()) {
    return status;
  }
  request.set_num_images(flags.num_images);
  if (flags.preview_every != 0) {
    request.mutable_preview()->set_every_n_steps(flags.preview_every);
  }
  request.mutable_output()->set_omit_metadata(flags.no_metadata);
  // Always one, so that a broken connection or a restarted server costs nothing: the same call
  // finds the same generation.
  request.set_request_id(flags.request_id.empty() ? NewRequestId() : flags.request_id);
  request.set_validate_only(flags.validate_only);
  for (const std::string& label : flags.labels) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(label, absl::MaxSplits('=', 1));
    (*request.mutable_labels())[pair.first] = pair.second;
  }
  return request;
}

absl::Status CheckPreviews(const GenerateFlags& flags, const Previews& previews) {
  if (flags.preview_every == 0) {
    return flags.preview_dir.empty() ? absl::OkStatus()
                                     : UsageError("--preview-dir needs --preview-every");
  }
  if (!previews.wanted()) {
    return UsageError("this terminal shows no pictures; say where they go with --preview-dir");
  }
  return previews.Check();
}

// True when another attempt may go better: the server asks for one before anything began, or the
// connection broke, and the request id will find the generation again.
bool WorthRetrying(const absl::Status& status, const Follower& follower) {
  return status.code() == absl::StatusCode::kUnavailable &&
         (follower.seen_any() || RetryDelay(status) > absl::ZeroDuration());
}

// Sleeps, but wakes for ctrl-C.
void Sleep(absl::Duration duration, const Canceller& interrupt) {
  const absl::Time end = absl::Now() + duration;
  while (absl::Now() < end && !interrupt.cancelled()) {
    absl::SleepFor(std::min(absl::Milliseconds(50), end - absl::Now()));
  }
}

// Ctrl-C: the stream is broken off already, but the server would wait for a retry with the same
// request id; the call cancels at once, and has when the prompt comes back.
int Interrupted(Session& session, Follower& follower) {
  follower.Show("cancelling");
  if (!follower.name().empty()) {
    const auto cancelled = session.client.CancelGeneration(follower.name());
    follower.Clear();
    if (!cancelled.ok()) {
      session.output.Fail(cancelled.status());
    } else {
      session.output.Note(absl::StrCat("cancelled ", IdOf(follower.name())));
    }
  }
  return kExitInterrupted;
}

int ShowResolved(Session& session, const v1::GenerateRequest& request) {
  const auto generation = session.client.CreateGeneration(request);
  if (!generation.ok()) return session.output.Fail(generation.status());
  if (session.output.json()) {
    session.output.Json(*generation);
    return 0;
  }
  const v1::GenerateRequest& resolved = generation->request();
  session.output.Line(absl::StrCat(
      "valid: ", resolved.model(), ", ", resolved.width(), "x", resolved.height(), ", ",
      resolved.sampling().steps(), " steps, guidance scale ", resolved.sampling().guidance_scale(),
      ", ", resolved.num_images(), resolved.num_images() == 1 ? " image" : " images"));
  return 0;
}

int RunGenerate(const GenerateFlags& flags, Session& session) {
  auto request = RequestOf(flags);
  if (!request.ok()) {
    session.output.Fail(request.status());
    return kExitUsage;
  }
  if (const absl::Status status = AddPictures(flags, session.client, *request); !status.ok()) {
    const int code = session.output.Fail(status);
    return ErrorReason(status) == "FLAG_INVALID" ? kExitUsage : code;
  }
  const Previews previews(flags.preview_dir,
                          flags.preview_every == 0
                              ? TerminalPictures::kNone
                              : DetectTerminalPictures(isatty(STDERR_FILENO) == 1));
  if (const absl::Status status = CheckPreviews(flags, previews); !status.ok()) {
    const int code = session.output.Fail(status);
    return ErrorReason(status) == "FLAG_INVALID" ? kExitUsage : code;
  }
  if (flags.validate_only) return ShowResolved(session, *request);
  if (const absl::Status status = OutputFiles(flags.out).Check(request->num_images());
      !status.ok()) {
    return session.output.Fail(status);
  }
  Follower follower(session, flags.out, previews);
  absl::Time give_up = absl::Now() + absl::Seconds(flags.wait_seconds);
  while (true) {
    int64_t seen = follower.last_sequence();
    const absl::Status status = session.client.Generate(
        *request, [&](const v1::GenerateEvent& event) { return follower.OnEvent(event); },
        &session.interrupt);
    if (session.interrupt.cancelled()) return Interrupted(session, follower);
    if (status.ok()) return follower.Conclude();
    // Each piece of progress earns a new wait.
    if (follower.last_sequence() > seen) give_up = absl::Now() + absl::Seconds(flags.wait_seconds);
    const absl::Duration delay = std::max(RetryDelay(status), kReconnectDelay);
    if (!WorthRetrying(status, follower) || absl::Now() + delay > give_up) {
      follower.Clear();
      return session.output.Fail(status);
    }
    follower.Show(absl::StrCat("waiting: ", Printable(std::string(status.message()), 60)));
    Sleep(delay, session.interrupt);
  }
}

struct WatchFlags {
  std::string name;
  int64_t after_sequence = 0;
  std::string out;
  std::string preview_dir;
};

int RunWatch(const WatchFlags& flags, Session& session) {
  const Previews previews(flags.preview_dir, TerminalPictures::kNone);
  if (const absl::Status status = previews.Check(); !status.ok()) {
    return session.output.Fail(status);
  }
  Follower follower(session, flags.out, previews);
  if (!flags.out.empty()) {
    // How many outputs there will be is the generation's to tell.
    const auto generation =
        session.client.GetGeneration(GenerationNameOf(session.client.tenant(), flags.name), false);
    if (!generation.ok()) return session.output.Fail(generation.status());
    const absl::Status status = OutputFiles(flags.out).Check(generation->request().num_images());
    if (!status.ok()) return session.output.Fail(status);
  }
  const absl::Status status = session.client.WatchGeneration(
      GenerationNameOf(session.client.tenant(), flags.name), flags.after_sequence,
      [&](const v1::GenerateEvent& event) { return follower.OnEvent(event); }, &session.interrupt);
  // Watching is not owning: the generation goes on.
  if (session.interrupt.cancelled()) return kExitInterrupted;
  if (!status.ok()) {
    follower.Clear();
    return session.output.Fail(status);
  }
  return follower.Conclude();
}

void AddWatch(CLI::App& app, Run& run) {
  auto flags = std::make_shared<WatchFlags>();
  CLI::App* command = app.add_subcommand("watch", "Follow a generation until it ends");
  command->add_option("name", flags->name, "Name or id of the generation")->required();
  CLI::Option* after =
      command->add_option("--after", flags->after_sequence,
                          "Only events after this sequence number (default: all that are kept)");
  command->add_option("--out", flags->out, "Also write the outputs; see generate")->excludes(after);
  command->add_option("--preview-dir", flags->preview_dir,
                      "Folder for the previews that its request asked for");
  command->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunWatch(*flags, session); };
    run.handles_interrupt = true;
  });
}

void AddRequestOptions(CLI::App* command, const std::shared_ptr<GenerateFlags>& flags) {
  command->add_option("--model", flags->model,
                      "Model; may be left out when the server serves one (see `models`)");
  command
      ->add_option("--prompt", flags->prompt,
                   "What to show; for a class-conditional model the name of a class")
      ->required();
  AddSamplingOptions(command, "Seed; picked and told when left out", flags->sampling);
  command->add_option("--num-images", flags->num_images, "Images to make (default 1)");
  AddPromiseOptions(command, flags->promise);
}

void AddDeliveryOptions(CLI::App* command, const std::shared_ptr<GenerateFlags>& flags) {
  command->add_option("--preview-every", flags->preview_every,
                      "A preview after every so many steps (default none)");
  command->add_option("--preview-dir", flags->preview_dir,
                      "Folder for previews (default: the terminal, where it shows pictures)");
  command->add_option(
      "--out", flags->out,
      absl::StrCat("Path to write; {index}, {seed} and {id} are filled in (default ", kDefaultOut,
                   ")"));
  command->add_option("--request-id", flags->request_id,
                      "UUID that finds the same generation again when the command is repeated "
                      "(default: a random one)");
  command->add_option("--label", flags->labels, "KEY=VALUE to find it by; may be repeated");
  command->add_option("--wait", flags->wait_seconds,
                      "Seconds to keep trying while the server is not ready (default 60)");
  command->add_flag("--no-metadata", flags->no_metadata,
                    "Leave prompt and parameters out of the picture's metadata");
  command->add_flag("--validate-only", flags->validate_only,
                    "Check the request and tell the defaults, without generating");
}

void AddRun(CLI::App* command, const std::shared_ptr<GenerateFlags>& flags, Run& run) {
  AddRequestOptions(command, flags);
  AddDeliveryOptions(command, flags);
  command->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunGenerate(*flags, session); };
    run.handles_interrupt = true;
  });
}

// "in 1.25 s"
std::string TimeFromNow(bool known, const google::protobuf::Timestamp& time) {
  if (!known) return "unknown";
  return absl::StrFormat("in %.2f s",
                         std::max(0.0, absl::ToDoubleSeconds(FromTimestamp(time) - absl::Now())));
}

int RunEstimate(const GenerateFlags& flags, Session& session) {
  auto request = RequestOf(flags);
  if (!request.ok()) {
    session.output.Fail(request.status());
    return kExitUsage;
  }
  const auto estimate = session.client.EstimateGeneration(*request);
  if (!estimate.ok()) return session.output.Fail(estimate.status());
  if (session.output.json()) {
    session.output.Json(*estimate);
  } else {
    const v1::Forecast& forecast = estimate->forecast();
    session.output.Line(
        absl::StrCat("starts ", TimeFromNow(forecast.has_start_time(), forecast.start_time()),
                     ", done ", TimeFromNow(forecast.has_end_time(), forecast.end_time()), ", ",
                     absl::StrFormat("%.3f s of accelerator time, alone",
                                     static_cast<double>(estimate->accelerator_nanos()) / 1e9)));
  }
  // What would be refused ends like what is.
  return estimate->has_refusal() ? session.output.Fail(FromProto(estimate->refusal())) : 0;
}

void AddEstimate(CLI::App& app, Run& run) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command =
      app.add_subcommand("estimate", "Tell when a generation would be done, without making it");
  AddRequestOptions(command, flags);
  command->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunEstimate(*flags, session); };
  });
}

void AddEdit(CLI::App& app, Run& run) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command =
      app.add_subcommand("edit", "Change a picture, or with a mask a part of it, after a prompt");
  command->add_option("--init", flags->init, "Picture to start from: PNG, JPEG or WebP")
      ->required();
  command->add_option("--mask", flags->mask, "Picture of where to paint anew");
  command->add_option("--mask-polarity", flags->mask_polarity,
                      "What of the mask is painted anew: white, black or transparent");
  command->add_option("--strength", flags->strength,
                      "How much is made anew, 0 to 1 (default: the model's)");
  command->add_flag("--no-overlay", flags->no_overlay,
                    "Give the model's own rendering also where the mask keeps the picture");
  AddRun(command, flags, run);
}

}  // namespace

void AddGenerate(CLI::App& app, Run& run) {
  AddRun(app.add_subcommand("generate", "Generate images"), std::make_shared<GenerateFlags>(), run);
  AddEstimate(app, run);
  AddEdit(app, run);
  AddWatch(app, run);
}

}  // namespace darkroom::cli
