#include "evaluation/mode.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/error.h"
#include "base/nearest_name.h"

namespace darkroom {
namespace {

constexpr Mode kModes[] = {{kExactMode, "f32"}, {"bf16", "bf16"}};

absl::Status InvalidModes(std::string_view reason, const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message);
}

std::string ModeNames() {
  return absl::StrJoin(kModes, ", ", [](std::string* out, const Mode& mode) {
    absl::StrAppend(out, std::string(mode.name));
  });
}

// "models/emoji (f32), models/emoji-bf16 (bf16)"
std::string ServedText(absl::Span<const v1::Model> served) {
  if (served.empty()) return "none";
  return absl::StrJoin(served, ", ", [](std::string* out, const v1::Model& model) {
    absl::StrAppend(out, model.name(), " (",
                    model.state() == v1::Model::STATE_READY ? model.precision() : "not ready", ")");
  });
}

absl::Status CheckReady(const v1::Model& model) {
  if (model.state() == v1::Model::STATE_READY) return absl::OkStatus();
  const bool failed = model.state() == v1::Model::STATE_FAILED;
  return Error(absl::StatusCode::kFailedPrecondition, "MODEL_NOT_READY",
               failed ? absl::StrCat(model.name(), " could not be loaded: ", model.error())
                      : absl::StrCat(model.name(), " is still loading; try again"));
}

absl::StatusOr<v1::Model> ByName(const std::string& name, absl::Span<const v1::Model> served) {
  std::vector<std::string> names;
  for (const v1::Model& model : served) {
    if (model.name() == name) {
      if (absl::Status status = CheckReady(model); !status.ok()) return status;
      return model;
    }
    names.push_back(model.name());
  }
  const std::vector<std::string> nearest = NearestNames(name, names, 1);
  return Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
               absl::StrCat("no model ", name, " is served; served: ", ServedText(served),
                            nearest.empty() ? "" : "; nearest: ", absl::StrJoin(nearest, ", ")));
}

// The weights that are meant: those of `name`, or what everything that is served has.
absl::StatusOr<v1::Model> Weights(const std::string& name, absl::Span<const v1::Model> served) {
  if (!name.empty()) return ByName(name, served);
  if (served.empty()) {
    return Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "the server serves no model");
  }
  for (const v1::Model& model : served) {
    if (absl::Status status = CheckReady(model); !status.ok()) return status;
    if (model.digest() != served.front().digest()) {
      return InvalidModes(
          "MODEL_AMBIGUOUS",
          absl::StrCat("several models are served; say which is meant: ", ServedText(served)));
    }
  }
  return served.front();
}

}  // namespace

absl::Span<const Mode> KnownModes() { return kModes; }

absl::StatusOr<std::vector<ModeChoice>> ParseModes(std::string_view text) {
  std::vector<ModeChoice> choices;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ',', absl::SkipWhitespace())) {
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(absl::StripAsciiWhitespace(part), absl::MaxSplits('=', 1));
    const auto* mode = std::find_if(std::begin(kModes), std::end(kModes),
                                    [&](const Mode& known) { return known.name == pair.first; });
    if (mode == std::end(kModes)) {
      return InvalidModes("MODE_UNKNOWN", absl::StrCat("mode \"", pair.first.substr(0, 60),
                                                       "\" is not known; known: ", ModeNames()));
    }
    for (const ModeChoice& other : choices) {
      if (other.mode.name != mode->name) continue;
      return InvalidModes("MODE_REPEATED", absl::StrCat("mode ", pair.first, " is named twice"));
    }
    choices.push_back({*mode, pair.second});
  }
  if (choices.empty()) {
    return InvalidModes("MODES_EMPTY", absl::StrCat("no mode is named; known: ", ModeNames()));
  }
  return choices;
}

absl::StatusOr<v1::Model> FindModel(const ModeChoice& choice, const std::string& model,
                                    absl::Span<const v1::Model> served) {
  // Without --model, the models that the modes name say which weights are meant.
  const std::string meant = model.empty() ? choice.model : model;
  absl::StatusOr<v1::Model> weights = Weights(meant, served);
  if (!weights.ok()) return weights.status();
  const std::string precision(choice.mode.precision);
  if (!choice.model.empty()) {
    absl::StatusOr<v1::Model> named = ByName(choice.model, served);
    if (!named.ok()) return named.status();
    if (named->precision() != precision || named->digest() != weights->digest()) {
      return InvalidModes(
          "MODE_MODEL_MISMATCH",
          absl::StrCat("mode ", std::string(choice.mode.name), " needs the weights of ",
                       weights->name(), " in ", precision, "; ", named->name(), " is served in ",
                       named->precision(),
                       named->digest() == weights->digest() ? "" : " and has other weights"));
    }
    return *named;
  }
  if (weights->precision() == precision) return *weights;
  for (const v1::Model& other : served) {
    if (other.state() == v1::Model::STATE_READY && other.precision() == precision &&
        other.digest() == weights->digest()) {
      return other;
    }
  }
  return Error(
      absl::StatusCode::kNotFound, "MODE_NOT_SERVED",
      absl::StrCat("mode ", std::string(choice.mode.name), " needs the weights of ",
                   weights->name(), " served in ", precision, "; served: ", ServedText(served),
                   ". Serve the folder twice, with another name and precision, or give "
                   "the folder itself: --model-path DIR"));
}

}  // namespace darkroom
