#include "gateway/validation.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "base/wall_time.h"
#include "gateway/class_names.h"
#include "gateway/field_errors.h"
#include "gateway/limits.h"
#include "gateway/size_range.h"
#include "gateway/text.h"
#include "gateway/validation_inputs.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

std::string Quote(std::string_view text) { return Quoted(text, limits::kQuotedBytesMax); }

// "a", "b" or "c"
std::string QuotedList(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  quoted.reserve(names.size());
  for (const std::string& name : names) quoted.push_back(Quote(name));
  return absl::StrJoin(quoted, ", ");
}

// A whole number in [min, max], or a violation.
void CheckRange(int64_t value, int64_t min, int64_t max, std::string_view field,
                std::string_view reason, FieldErrors& errors) {
  if (value >= min && value <= max) return;
  errors.Add(
      field, reason, absl::StrCat("is ", value),
      absl::StrCat("must be ", min, " to ", max, "; nearest: ", std::clamp(value, min, max)));
}

// Names of what this server serves, nearest to `wanted` first.
std::string ServedModels(std::string_view wanted, absl::Span<const v1::Model> models) {
  std::vector<std::string> names;
  for (const v1::Model& model : models) names.push_back(model.name());
  return QuotedList(
      NearestNames(Utf8Prefix(wanted, limits::kComparedBytesMax), names, limits::kNearestNamesMax));
}

// The model that is asked for; null with a violation when there is none. REQUIRES: models
// non-empty.
const v1::Model* ChooseModel(const std::string& name, absl::Span<const v1::Model> models,
                             FieldErrors& errors) {
  if (name.empty()) {
    if (models.size() == 1) return &models[0];
    errors.Add("model", "MODEL_REQUIRED", "is empty and this server serves several",
               absl::StrCat("must be one of ", ServedModels("", models)));
    return nullptr;
  }
  for (const v1::Model& model : models) {
    if (model.name() == name) return &model;
  }
  errors.Add("model", "MODEL_NOT_FOUND", absl::StrCat("is ", Quote(name), ", which is not served"),
             absl::StrCat("must be a served model; nearest: ", ServedModels(name, models)));
  return nullptr;
}

void CheckTask(v1::Task task, const v1::Model* model, FieldErrors& errors) {
  const bool known = v1::Task_IsValid(task) && task != v1::TASK_UNSPECIFIED;
  const bool offered =
      model == nullptr || model->tasks_size() == 0 ||
      std::find(model->tasks().begin(), model->tasks().end(), task) != model->tasks().end();
  if (known && offered) return;
  errors.Add("task", "TASK_UNSUPPORTED",
             known ? absl::StrCat("is ", v1::Task_Name(task), ", which the model cannot do")
                   : absl::StrCat("is ", static_cast<int>(task), ", which is no known task"),
             absl::StrCat("nearest: ", v1::Task_Name(model != nullptr && model->tasks_size() > 0
                                                         ? static_cast<v1::Task>(model->tasks(0))
                                                         : v1::TASK_TEXT_TO_IMAGE)));
}

// False with a violation when it is no text that a prompt can be.
bool CheckPromptText(const std::string& prompt, std::string_view field, FieldErrors& errors) {
  if (prompt.size() > static_cast<size_t>(limits::kPromptBytesMax)) {
    errors.Add(field, "PROMPT_TOO_LONG", absl::StrCat("has ", prompt.size(), " bytes"),
               absl::StrCat("must be at most ", limits::kPromptBytesMax, " bytes of UTF-8"));
    return false;
  }
  if (!IsValidUtf8(prompt)) {
    errors.Add(field, "TEXT_NOT_UTF8", "is not UTF-8", "must be valid UTF-8");
    return false;
  }
  if (HasControlCharacter(prompt)) {
    errors.Add(field, "TEXT_HAS_CONTROL_CHARACTER", "has a control character",
               "must be text without control characters, line breaks included");
    return false;
  }
  return true;
}

void CheckPrompt(const std::string& prompt, const v1::Model* model, FieldErrors& errors) {
  if (!CheckPromptText(prompt, "prompt", errors)) return;
  if (model == nullptr || model->classes_size() == 0) return;
  const absl::Span<const std::string* const> classes(model->classes().data(),
                                                     model->classes_size());
  if (IsClassName(prompt, classes)) return;
  errors.Add(
      "prompt", "CLASS_UNKNOWN",
      prompt.empty() ? "is empty" : absl::StrCat(Quote(prompt), " is no class of the model"),
      absl::StrCat("must be the name of one of the model's classes; nearest: ",
                   QuotedList(NearestClassNames(prompt, classes, limits::kNearestNamesMax))));
}

void CheckSide(int64_t value, const SizeRange& range, std::string_view field, FieldErrors& errors) {
  if (range.Contains(value)) return;
  errors.Add(field, "SIZE_INVALID", absl::StrCat("is ", value),
             range.min == range.max
                 ? absl::StrCat("must be ", range.min)
                 : absl::StrCat("must be ", range.min, " to ", range.max, " in steps of ",
                                range.multiple, "; nearest: ", range.Nearest(value)));
}

// Fills in sizes that are 0: from the model, or for a square model from the other side.
void ResolveSize(const v1::Model& model, v1::GenerateRequest& request, FieldErrors& errors) {
  const bool square = model.limits().square_only();
  const int32_t width = request.width();
  const int32_t height = request.height();
  if (request.inputs_size() > 0 && (width == 0 || height == 0)) {
    // A side that is left open is the picture's, which is known once it is decoded.
    const SizeRange range(model.limits());
    if (width != 0) CheckSide(width, range, "width", errors);
    if (height != 0) CheckSide(height, range, "height", errors);
    return;
  }
  if (width == 0) request.set_width(square && height != 0 ? height : model.defaults().width());
  if (height == 0) request.set_height(square && width != 0 ? width : model.defaults().height());
  const SizeRange range(model.limits());
  // A side that repeats the other would only repeat its mistake.
  const bool width_repeats = square && width == 0 && height != 0;
  const bool height_repeats = square && height == 0 && width != 0;
  if (!width_repeats) CheckSide(request.width(), range, "width", errors);
  if (!height_repeats) CheckSide(request.height(), range, "height", errors);
  if (square && request.width() != request.height() && range.Contains(request.width()) &&
      range.Contains(request.height())) {
    errors.Add("height", "SIZE_NOT_SQUARE",
               absl::StrCat("is ", request.height(), " and width is ", request.width()),
               absl::StrCat("must equal width: the model makes square pictures only; nearest: ",
                            request.width()));
  }
}

void ResolveSampling(const v1::Model& model, v1::GenerateRequest& request, FieldErrors& errors,
                     absl::FunctionRef<uint64_t()> random) {
  v1::Sampling& sampling = *request.mutable_sampling();
  if (!sampling.has_steps()) sampling.set_steps(model.defaults().steps());
  const int steps_max = model.limits().steps_max() > 0
                            ? std::min(model.limits().steps_max(), limits::kStepsMax)
                            : limits::kStepsMax;
  CheckRange(sampling.steps(), 1, steps_max, "sampling.steps", "STEPS_OUT_OF_RANGE", errors);

  if (!sampling.has_guidance_scale()) {
    sampling.set_guidance_scale(model.defaults().guidance_scale());
  }
  const double scale = sampling.guidance_scale();
  // Written so that NaN fails.
  if (!(scale >= limits::kGuidanceScaleMin && scale <= limits::kGuidanceScaleMax)) {
    const double nearest =
        scale > limits::kGuidanceScaleMax ? limits::kGuidanceScaleMax : limits::kGuidanceScaleMin;
    errors.Add("sampling.guidance_scale", "GUIDANCE_SCALE_OUT_OF_RANGE",
               absl::StrFormat("is %g", scale),
               absl::StrFormat("must be %g to %g; nearest: %g", limits::kGuidanceScaleMin,
                               limits::kGuidanceScaleMax, nearest));
  }

  // Output i uses seed + i, and the last of them must still be a seed.
  const int64_t seed_max = std::numeric_limits<int64_t>::max() -
                           std::clamp(request.num_images() - 1, 0, limits::kImagesMax - 1);
  if (!sampling.has_seed()) {
    // 53 bits: a number that every JSON reader keeps exact.
    sampling.set_seed(static_cast<int64_t>(random() >> 11));
  }
  CheckRange(sampling.seed(), 0, seed_max, "sampling.seed", "SEED_OUT_OF_RANGE", errors);
}

void ResolveImages(const v1::Model* model, v1::GenerateRequest& request, FieldErrors& errors) {
  if (request.num_images() == 0) request.set_num_images(1);
  const int images_max = model != nullptr && model->limits().images_max() > 0
                             ? std::min(model->limits().images_max(), limits::kImagesMax)
                             : limits::kImagesMax;
  CheckRange(request.num_images(), 1, images_max, "num_images", "NUM_IMAGES_OUT_OF_RANGE", errors);
}

// What is wrong with a label's key or value; empty when nothing is.
std::string LabelTextProblem(const std::string& text) {
  if (text.size() > static_cast<size_t>(limits::kLabelBytesMax)) {
    return absl::StrCat("has ", text.size(), " bytes");
  }
  if (!IsValidUtf8(text)) return "is not UTF-8";
  if (HasControlCharacter(text)) return "has a control character";
  return "";
}

void CheckLabels(const v1::GenerateRequest& request, FieldErrors& errors) {
  if (request.labels_size() > limits::kLabelsMax) {
    errors.Add("labels", "LABELS_TOO_MANY", absl::StrCat("has ", request.labels_size(), " entries"),
               absl::StrCat("must have at most ", limits::kLabelsMax));
    return;
  }
  const std::string rule =
      absl::StrCat("keys must be 1 to ", limits::kLabelBytesMax, " bytes and values at most ",
                   limits::kLabelBytesMax, ", UTF-8 without control characters");
  for (const auto& [key, value] : request.labels()) {
    const std::string key_problem = key.empty() ? "is empty" : LabelTextProblem(key);
    if (!key_problem.empty()) {
      errors.Add("labels", "LABEL_INVALID", absl::StrCat("key ", Quote(key), " ", key_problem),
                 rule);
      continue;
    }
    if (const std::string problem = LabelTextProblem(value); !problem.empty()) {
      errors.Add("labels", "LABEL_INVALID", absl::StrCat("value of key ", Quote(key), " ", problem),
                 rule);
    }
  }
}

void ResolveRequestId(const std::string& request_id, v1::GenerateRequest& resolved,
                      FieldErrors& errors) {
  if (request_id.empty()) return;
  if (!IsRequestId(request_id)) {
    errors.Add("request_id", "REQUEST_ID_INVALID", absl::StrCat("is ", Quote(request_id)),
               "must be empty or a UUID like 123e4567-e89b-12d3-a456-426614174000");
    return;
  }
  resolved.set_request_id(absl::AsciiStrToLower(request_id));
}

void ResolveOutput(v1::GenerateRequest& request, FieldErrors& errors) {
  v1::OutputOptions& output = *request.mutable_output();
  if (output.format() == v1::OUTPUT_FORMAT_UNSPECIFIED) output.set_format(v1::OUTPUT_FORMAT_PNG);
  if (output.format() != v1::OUTPUT_FORMAT_PNG) {
    errors.Add("output.format", "OUTPUT_FORMAT_UNSUPPORTED",
               absl::StrCat("is ", static_cast<int>(output.format())),
               "must be OUTPUT_FORMAT_PNG, which is the default");
  }
}

// What it is to be promised: its class and its deadline.
void ResolvePromise(const v1::GenerateRequest& request, absl::Time now,
                    v1::GenerateRequest& resolved, FieldErrors& errors) {
  if (v1::ServiceClass_IsValid(request.service_class())) {
    resolved.set_service_class(request.service_class());
  } else {
    errors.Add("service_class", "SERVICE_CLASS_UNKNOWN",
               absl::StrCat("is ", static_cast<int>(request.service_class())),
               "must be SERVICE_CLASS_GUARANTEED, _TARGET or _BEST_EFFORT, or unset");
  }
  if (!request.has_deadline()) return;
  const auto shown = [](absl::Time time) {
    return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
  };
  const absl::Time latest = now + absl::Seconds(limits::kDeadlineAheadSecondsMax);
  const std::string rule =
      absl::StrCat("must be after ", shown(now), " and not after ", shown(latest));
  const google::protobuf::Timestamp& deadline = request.deadline();
  // Beyond these, it is no time that can be compared.
  const bool a_time = deadline.nanos() >= 0 && deadline.nanos() < 1'000'000'000 &&
                      deadline.seconds() >= 0 && deadline.seconds() <= absl::ToUnixSeconds(latest);
  if (!a_time) {
    errors.Add("deadline", "DEADLINE_OUT_OF_RANGE", "is no time within the next year", rule);
  } else if (FromTimestamp(deadline) <= now) {
    errors.Add("deadline", "DEADLINE_PASSED",
               absl::StrCat("is ", shown(FromTimestamp(deadline)), ", which is past"), rule);
  } else {
    *resolved.mutable_deadline() = deadline;
  }
}

// A field from a newer client would change the picture; ignoring it would answer another question.
void CheckUnknownFields(const v1::GenerateRequest& request, FieldErrors& errors) {
  const auto check = [&](const google::protobuf::Message& message, std::string_view path) {
    const auto& unknown = message.GetReflection()->GetUnknownFields(message);
    if (unknown.empty()) return;
    errors.Add(path, "FIELD_UNKNOWN", absl::StrCat("has field number ", unknown.field(0).number()),
               "must have only fields that this server knows; it may be older than the client");
  };
  check(request, "request");
  check(request.sampling(), "sampling");
  check(request.output(), "output");
  check(request.preview(), "preview");
  for (const v1::InputImage& input : request.inputs()) check(input, "inputs");
}

absl::Status CheckModelState(const v1::Model& model) {
  if (model.state() == v1::Model::STATE_READY) return absl::OkStatus();
  if (model.state() == v1::Model::STATE_FAILED) {
    return Error(absl::StatusCode::kFailedPrecondition, "MODEL_FAILED",
                 "the model could not be loaded; GetModel tells why");
  }
  return Error(absl::StatusCode::kUnavailable, "MODEL_LOADING",
               "the model is being loaded; try again shortly")
      .RetryAfter(absl::Milliseconds(limits::kRetryModelLoadingMs));
}

}  // namespace

absl::StatusOr<v1::GenerateRequest> ResolveGenerateRequest(const v1::GenerateRequest& request,
                                                           const std::string& tenant,
                                                           absl::Span<const v1::Model> models,
                                                           absl::FunctionRef<uint64_t()> random,
                                                           absl::Time now) {
  FieldErrors errors;
  CheckUnknownFields(request, errors);
  CheckLabels(request, errors);
  const v1::Model* model = models.empty() ? nullptr : ChooseModel(request.model(), models, errors);
  CheckPrompt(request.prompt(), model, errors);

  // Text is copied only once everything was checked.
  v1::GenerateRequest resolved;
  resolved.set_task(request.task() == v1::TASK_UNSPECIFIED ? TaskOf(request) : request.task());
  resolved.set_width(request.width());
  resolved.set_height(request.height());
  resolved.set_num_images(request.num_images());
  *resolved.mutable_sampling() = request.sampling();
  *resolved.mutable_output() = request.output();
  resolved.set_validate_only(request.validate_only());

  *resolved.mutable_preview() = request.preview();
  if (!request.has_preview()) resolved.clear_preview();

  CheckTask(resolved.task(), model, errors);
  ResolveInputs(request, resolved.task(), resolved, errors);
  ResolvePreview(resolved, errors);
  if (CheckPromptText(request.negative_prompt(), "negative_prompt", errors)) {
    resolved.set_negative_prompt(request.negative_prompt());
  }
  ResolveImages(model, resolved, errors);
  ResolveRequestId(request.request_id(), resolved, errors);
  ResolveOutput(resolved, errors);
  ResolvePromise(request, now, resolved, errors);
  // A model that is still loading has no limits to check against yet.
  if (model != nullptr && model->state() == v1::Model::STATE_READY) {
    ResolveSize(*model, resolved, errors);
    ResolveSampling(*model, resolved, errors, random);
    ResolveGuides(*model, resolved, errors);
    CheckNegativePrompt(*model, resolved, errors);
  }
  if (!errors.empty()) return errors.ToStatus();
  if (model == nullptr) {
    return absl::Status(Error(absl::StatusCode::kFailedPrecondition, "NO_MODEL_SERVED",
                              "this server serves no model"));
  }
  if (absl::Status status = CheckModelState(*model); !status.ok()) return status;

  resolved.set_parent(absl::StrCat("tenants/", tenant));
  resolved.set_model(model->name());
  resolved.set_prompt(request.prompt());
  *resolved.mutable_labels() = request.labels();
  return resolved;
}

bool IsRequestId(std::string_view text) {
  constexpr std::string_view kShape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (text.size() != kShape.size()) return false;
  for (size_t i = 0; i < kShape.size(); ++i) {
    const bool fits = kShape[i] == '-' ? text[i] == '-' : absl::ascii_isxdigit(text[i]);
    if (!fits) return false;
  }
  return true;
}

std::string RequestHash(const v1::GenerateRequest& request) {
  v1::GenerateRequest hashed = request;
  hashed.clear_request_id();
  for (v1::InputImage& input : *hashed.mutable_inputs()) {
    // However the picture comes, it is the same picture.
    const auto name = AssetName::Parse(input.asset(), "asset");
    input.set_sha256(name.ok() ? name->sha256 : Sha256Hex(input.data()));
    input.clear_source();
  }
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    // Maps in key order, so that the same request always gives the same bytes.
    coded.SetSerializationDeterministic(true);
    hashed.SerializeToCodedStream(&coded);
  }
  return Sha256Hex(bytes);
}

}  // namespace darkroom
