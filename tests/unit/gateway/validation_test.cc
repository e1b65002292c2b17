#include "gateway/validation.h"

#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gateway/limits.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "testing/fake_engine.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::GenerateRequest Valid() {
  v1::GenerateRequest request;
  request.set_prompt("goldfish");
  return request;
}

absl::StatusOr<v1::GenerateRequest> Resolve(const v1::GenerateRequest& request,
                                            const std::vector<v1::Model>& models = {
                                                FakeEngine::Dit()}) {
  return ResolveGenerateRequest(
      request, "local", models, [] { return ~uint64_t{0}; }, absl::FromUnixSeconds(1'700'000'000));
}

std::string Message(const absl::StatusOr<v1::GenerateRequest>& resolved) {
  return std::string(resolved.status().message());
}

google::rpc::BadRequest Violations(const absl::Status& status) {
  google::rpc::BadRequest bad_request;
  const google::rpc::Status proto = ToProto(status);
  for (const auto& detail : proto.details()) detail.UnpackTo(&bad_request);
  return bad_request;
}

std::vector<std::string> Fields(const absl::Status& status) {
  std::vector<std::string> fields;
  const google::rpc::BadRequest bad_request = Violations(status);
  for (const auto& violation : bad_request.field_violations()) {
    fields.push_back(violation.field());
  }
  return fields;
}

TEST(ValidationTest, DeadlinesLieWithinTheNextYear) {
  v1::GenerateRequest request = Valid();
  constexpr int64_t kNow = 1'700'000'000;
  for (const int64_t good : {kNow + 1, kNow + int64_t{365} * 24 * 3600}) {
    request.mutable_deadline()->set_seconds(good);
    const auto resolved = Resolve(request);
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    EXPECT_EQ(resolved->deadline().seconds(), good);
  }
  request.mutable_deadline()->set_seconds(kNow);
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "DEADLINE_PASSED");
  EXPECT_EQ(Message(Resolve(request)),
            "deadline is 2023-11-14T22:13:20Z, which is past; must be after 2023-11-14T22:13:20Z "
            "and not after 2024-11-13T22:13:20Z");
  request.mutable_deadline()->set_seconds(1);
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "DEADLINE_PASSED");
  for (const int64_t bad : {int64_t{-1}, std::numeric_limits<int64_t>::min(),
                            kNow + int64_t{366} * 24 * 3600, std::numeric_limits<int64_t>::max()}) {
    request.mutable_deadline()->set_seconds(bad);
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "DEADLINE_OUT_OF_RANGE") << bad;
  }
  request.mutable_deadline()->set_seconds(kNow + 5);
  for (const int32_t bad : {-1, 1'000'000'000, std::numeric_limits<int32_t>::min()}) {
    request.mutable_deadline()->set_nanos(bad);
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "DEADLINE_OUT_OF_RANGE") << bad;
  }
}

TEST(ValidationTest, ServiceClassesAreKnownOnes) {
  v1::GenerateRequest request = Valid();
  request.set_service_class(v1::SERVICE_CLASS_TARGET);
  EXPECT_EQ(Resolve(request)->service_class(), v1::SERVICE_CLASS_TARGET);
  for (const int bad : {-1, 4, 1 << 30}) {
    request.set_service_class(static_cast<v1::ServiceClass>(bad));
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "SERVICE_CLASS_UNKNOWN");
  }
}

TEST(ValidationTest, FillsInEveryDefault) {
  const auto resolved = Resolve(Valid());
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->parent(), "tenants/local");
  EXPECT_EQ(resolved->model(), "models/dit");
  EXPECT_EQ(resolved->task(), v1::TASK_TEXT_TO_IMAGE);
  EXPECT_EQ(resolved->prompt(), "goldfish");
  EXPECT_EQ(resolved->width(), 128);
  EXPECT_EQ(resolved->height(), 128);
  EXPECT_EQ(resolved->num_images(), 1);
  EXPECT_EQ(resolved->sampling().steps(), 10);
  EXPECT_EQ(resolved->sampling().guidance_scale(), 4);
  EXPECT_EQ(resolved->sampling().seed(), (int64_t{1} << 53) - 1);
  EXPECT_EQ(resolved->output().format(), v1::OUTPUT_FORMAT_PNG);
  // What was resolved resolves to itself.
  const auto again = Resolve(*resolved);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->SerializeAsString(), resolved->SerializeAsString());
}

// Every integer field at and around its bounds, found through the descriptors so that a new field
// fails here until it has a row.
struct IntegerField {
  int64_t min;
  int64_t max;
  int64_t multiple;
  bool zero_is_default;

  bool Contains(int64_t value) const {
    return (value == 0 && zero_is_default) ||
           (value >= min && value <= max && value % multiple == 0);
  }
};

const std::map<std::string, IntegerField>& IntegerFields() {
  static const auto& fields = *new std::map<std::string, IntegerField>{
      {"width", {64, 256, 8, true}},
      {"height", {64, 256, 8, true}},
      {"num_images", {1, 8, 1, true}},
      {"sampling.steps", {1, 250, 1, false}},
      {"sampling.seed", {0, std::numeric_limits<int64_t>::max(), 1, false}},
      // A class-conditional model has no tokens to count.
      {"sampling.max_sequence_length", {0, 0, 1, true}},
  };
  return fields;
}

void CheckInteger(const std::string& path, const google::protobuf::FieldDescriptor* field,
                  int64_t value) {
  SCOPED_TRACE(absl::StrCat(path, " = ", value));
  v1::GenerateRequest request = Valid();
  google::protobuf::Message* message = &request;
  if (field->containing_type() == v1::Sampling::descriptor()) message = request.mutable_sampling();
  if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64) {
    message->GetReflection()->SetInt64(message, field, value);
  } else {
    message->GetReflection()->SetInt32(message, field, static_cast<int32_t>(value));
  }
  const auto resolved = Resolve(request);
  const bool valid = IntegerFields().at(path).Contains(value);
  EXPECT_EQ(resolved.ok(), valid) << resolved.status();
  if (valid) return;
  EXPECT_EQ(resolved.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Fields(resolved.status()), ElementsAre(path));
  EXPECT_THAT(Message(resolved), HasSubstr(absl::StrCat(value)));
  EXPECT_THAT(Message(resolved), HasSubstr("nearest"));
}

void CheckIntegersOf(const google::protobuf::Descriptor* message, const std::string& prefix) {
  using Int32 = std::numeric_limits<int32_t>;
  using Int64 = std::numeric_limits<int64_t>;
  for (int i = 0; i < message->field_count(); ++i) {
    const auto* field = message->field(i);
    const bool wide = field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64;
    if (!wide && field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_INT32) continue;
    const std::string path = prefix + field->name();
    ASSERT_TRUE(IntegerFields().contains(path)) << path << " has no row in this test";
    const IntegerField& row = IntegerFields().at(path);
    for (const int64_t value :
         {int64_t{-1}, int64_t{0}, int64_t{1}, row.min - 1, row.min, row.max - 1, row.max,
          int64_t{Int32::max()}, int64_t{Int32::min()}}) {
      CheckInteger(path, field, value);
    }
    if (row.max < Int64::max()) CheckInteger(path, field, row.max + 1);
    if (!wide) continue;
    for (const int64_t value : {int64_t{1} << 31, int64_t{1} << 32, Int64::max(), Int64::min()}) {
      CheckInteger(path, field, value);
    }
  }
}

TEST(ValidationTest, EveryIntegerFieldAtItsBounds) {
  CheckIntegersOf(v1::GenerateRequest::descriptor(), "");
  CheckIntegersOf(v1::Sampling::descriptor(), "sampling.");
}

TEST(ValidationTest, NearestValueIsTheOneToTake) {
  v1::GenerateRequest request = Valid();
  request.set_width(100);
  request.set_height(100);
  EXPECT_THAT(Message(Resolve(request)), HasSubstr("nearest: 104"));
  request.set_width(104);
  request.set_height(104);
  EXPECT_TRUE(Resolve(request).ok());
  request.set_width(100'000);
  request.set_height(1);
  EXPECT_THAT(Message(Resolve(request)), HasSubstr("nearest: 256"));
  EXPECT_THAT(Message(Resolve(request)), HasSubstr("nearest: 64"));
}

TEST(ValidationTest, SquareModelTakesTheMissingSideFromTheOther) {
  v1::GenerateRequest request = Valid();
  request.set_height(200);
  auto resolved = Resolve(request);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->width(), 200);
  request.set_width(192);
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "SIZE_NOT_SQUARE");
  // One side missing, the other wrong: one mistake, told once and where it was made.
  request.set_width(0);
  request.set_height(201);
  EXPECT_THAT(Fields(Resolve(request).status()), ElementsAre("height"));
  request.set_width(201);
  request.set_height(0);
  EXPECT_THAT(Fields(Resolve(request).status()), ElementsAre("width"));

  request.set_model("models/flux");
  request.set_width(768);
  resolved = Resolve(request, {FakeEngine::Dit(), FakeEngine::Flux()});
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->height(), 512);
}

TEST(ValidationTest, EveryKindOfDoubleForGuidance) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const double denormal = std::numeric_limits<double>::denorm_min();
  for (const double value : {nan, -nan, infinity, -infinity, -0.0, 0.0, denormal, -denormal, 0.999,
                             30.0000001, -1.0, 1e308}) {
    v1::GenerateRequest request = Valid();
    request.mutable_sampling()->set_guidance_scale(value);
    const auto resolved = Resolve(request);
    EXPECT_EQ(ErrorReason(resolved.status()), "GUIDANCE_SCALE_OUT_OF_RANGE") << value;
    EXPECT_THAT(Fields(resolved.status()), ElementsAre("sampling.guidance_scale"));
  }
  for (const double value : {1.0, 1.0 + 1e-15, 4.5, 30.0}) {
    v1::GenerateRequest request = Valid();
    request.mutable_sampling()->set_guidance_scale(value);
    EXPECT_TRUE(Resolve(request).ok()) << value;
  }
}

TEST(ValidationTest, LastImageMustHaveASeedToo) {
  v1::GenerateRequest request = Valid();
  request.set_num_images(4);
  request.mutable_sampling()->set_seed(std::numeric_limits<int64_t>::max() - 3);
  EXPECT_TRUE(Resolve(request).ok());
  request.mutable_sampling()->set_seed(std::numeric_limits<int64_t>::max() - 2);
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "SEED_OUT_OF_RANGE");
}

TEST(ValidationTest, Prompts) {
  const struct {
    std::string prompt;
    std::string reason;
  } kRows[] = {
      {"a cat", ""},
      {"", ""},
      {"\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x90\x9f", ""},
      {std::string(10'240, 'x'), ""},
      {std::string(10'241, 'x'), "PROMPT_TOO_LONG"},
      {std::string(1 << 20, 'x'), "PROMPT_TOO_LONG"},
      {std::string("a\0b", 3), "TEXT_HAS_CONTROL_CHARACTER"},
      {"a\nb", "TEXT_HAS_CONTROL_CHARACTER"},
      {"\x1b[31m", "TEXT_HAS_CONTROL_CHARACTER"},
      {"\x7f", "TEXT_HAS_CONTROL_CHARACTER"},
      {"\xc2\x9b", "TEXT_HAS_CONTROL_CHARACTER"},
      {"\xff", "TEXT_NOT_UTF8"},
      {"\xc0\xaf", "TEXT_NOT_UTF8"},          // overlong '/'
      {"\xed\xa0\x80", "TEXT_NOT_UTF8"},      // surrogate
      {"\xf4\x90\x80\x80", "TEXT_NOT_UTF8"},  // above U+10FFFF
      {"cut \xe6\x97", "TEXT_NOT_UTF8"},
  };
  for (const auto& row : kRows) {
    v1::GenerateRequest request;
    request.set_prompt(row.prompt);
    const auto resolved = Resolve(request, {FakeEngine::Flux()});
    EXPECT_EQ(ErrorReason(resolved.status()), row.reason) << row.prompt.substr(0, 20);
    if (!row.reason.empty()) {
      EXPECT_THAT(Fields(resolved.status()), ElementsAre("prompt"));
    }
  }
}

TEST(ValidationTest, UnknownClassIsAnsweredWithTheNearest) {
  v1::GenerateRequest request = Valid();
  request.set_prompt("goldfsh");
  const auto resolved = Resolve(request);
  EXPECT_EQ(ErrorReason(resolved.status()), "CLASS_UNKNOWN");
  EXPECT_THAT(Message(resolved), HasSubstr("\"goldfsh\" is no class of the model"));
  EXPECT_THAT(Message(resolved), HasSubstr("nearest: \"goldfish\""));
  for (const char* prompt : {"Tinca tinca", "TENCH", " tench, tinca tinca "}) {
    request.set_prompt(prompt);
    EXPECT_TRUE(Resolve(request).ok()) << prompt;
  }
  request.clear_prompt();
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "CLASS_UNKNOWN");
}

TEST(ValidationTest, ModelMustBeServedAndReady) {
  v1::GenerateRequest request = Valid();
  EXPECT_EQ(ErrorReason(Resolve(request, {}).status()), "NO_MODEL_SERVED");
  EXPECT_EQ(ErrorReason(Resolve(request, {FakeEngine::Dit(), FakeEngine::Flux()}).status()),
            "MODEL_REQUIRED");
  request.set_model("models/ditt");
  auto resolved = Resolve(request, {FakeEngine::Flux(), FakeEngine::Dit()});
  EXPECT_EQ(ErrorReason(resolved.status()), "MODEL_NOT_FOUND");
  EXPECT_THAT(Message(resolved), HasSubstr("nearest: \"models/dit\""));

  request.clear_model();
  v1::Model loading;
  loading.set_name("models/dit");
  loading.set_state(v1::Model::STATE_LOADING);
  resolved = Resolve(request, {loading});
  EXPECT_EQ(resolved.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(resolved.status()), "MODEL_LOADING");
  EXPECT_TRUE(resolved.status().GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  // What is wrong whatever the model will say is told at once.
  request.set_num_images(17);
  EXPECT_EQ(ErrorReason(Resolve(request, {loading}).status()), "NUM_IMAGES_OUT_OF_RANGE");

  request.clear_num_images();
  loading.set_state(v1::Model::STATE_FAILED);
  resolved = Resolve(request, {loading});
  EXPECT_EQ(resolved.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(resolved.status()), "MODEL_FAILED");
}

TEST(ValidationTest, ModelThatReportsNonsenseHarmsNobody) {
  v1::Model model = FakeEngine::Dit();
  model.clear_limits();
  model.clear_defaults();
  EXPECT_FALSE(Resolve(Valid(), {model}).ok());
  model.mutable_limits()->set_size_multiple_of(-8);
  model.mutable_limits()->set_size_min(std::numeric_limits<int32_t>::max());
  model.mutable_limits()->set_size_max(std::numeric_limits<int32_t>::min());
  EXPECT_FALSE(Resolve(Valid(), {model}).ok());
}

TEST(ValidationTest, TaskAndFormatOutsideTheEnums) {
  v1::GenerateRequest request = Valid();
  request.set_task(static_cast<v1::Task>(77));
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "TASK_UNSUPPORTED");
  request = Valid();
  request.mutable_output()->set_format(static_cast<v1::OutputFormat>(-5));
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "OUTPUT_FORMAT_UNSUPPORTED");
}

TEST(ValidationTest, RequestIds) {
  v1::GenerateRequest request = Valid();
  request.set_request_id("123E4567-e89b-12d3-A456-426614174000");
  const auto resolved = Resolve(request);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->request_id(), "123e4567-e89b-12d3-a456-426614174000");
  for (const std::string& id : {std::string("x"), std::string("123e4567e89b12d3a456426614174000"),
                                std::string("123e4567-e89b-12d3-a456-42661417400g"),
                                std::string("{23e4567-e89b-12d3-a456-426614174000}"),
                                std::string("../../../../etc/passwd"), std::string(1 << 20, 'a')}) {
    request.set_request_id(id);
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "REQUEST_ID_INVALID") << id.substr(0, 40);
  }
}

TEST(ValidationTest, Labels) {
  v1::GenerateRequest request = Valid();
  auto& labels = *request.mutable_labels();
  for (int i = 0; i < 16; ++i) labels[absl::StrCat("key", i)] = std::string(63, 'v');
  ASSERT_TRUE(Resolve(request).ok());
  EXPECT_EQ(Resolve(request)->labels_size(), 16);
  labels["one more"] = "";
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "LABELS_TOO_MANY");
  const std::pair<std::string, std::string> kBad[] = {
      {"", "v"},    {std::string(64, 'k'), "v"}, {"k", std::string(64, 'v')}, {"k", "\xff"},
      {"k\n", "v"}, {"k", std::string("\0", 1)}};
  for (const auto& [key, value] : kBad) {
    labels.clear();
    labels[key] = value;
    EXPECT_EQ(ErrorReason(Resolve(request).status()), "LABEL_INVALID") << key;
    EXPECT_THAT(Fields(Resolve(request).status()), ElementsAre("labels"));
  }
}

TEST(ValidationTest, FieldFromANewerClientIsNamed) {
  v1::GenerateRequest request = Valid();
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(500, 1);
  EXPECT_EQ(ErrorReason(Resolve(request).status()), "FIELD_UNKNOWN");
  EXPECT_THAT(Message(Resolve(request)), HasSubstr("500"));
  request = Valid();
  auto& sampling = *request.mutable_sampling();
  sampling.GetReflection()->MutableUnknownFields(&sampling)->AddVarint(500, 1);
  EXPECT_THAT(Fields(Resolve(request).status()), ElementsAre("sampling"));
}

TEST(ValidationTest, TellsEveryMistakeAtOnce) {
  v1::GenerateRequest request;
  request.set_prompt("gold fish");
  request.set_width(1);
  request.set_num_images(100);
  request.mutable_sampling()->set_steps(0);
  const auto resolved = Resolve(request);
  EXPECT_EQ(ErrorReason(resolved.status()), "FIELDS_INVALID");
  EXPECT_THAT(Fields(resolved.status()),
              ElementsAre("prompt", "num_images", "width", "sampling.steps"));
  EXPECT_THAT(Message(resolved), HasSubstr("4 fields are invalid"));
}

// Bytes of trailing metadata: a byte of the message costs up to 3 in its header, and the details
// travel in base64.
size_t TrailerBytes(const absl::Status& status) {
  return status.message().size() * 3 + ToProto(status).ByteSizeLong() * 4 / 3;
}

// Clients accept 8 KiB by default; an error beyond that reaches them as another one.
TEST(ValidationTest, WorstErrorFitsTheTrailers) {
  std::string nasty;
  for (int i = 0; i < 1000; ++i) nasty += "\xe2\x80\xae";  // right-to-left override
  std::vector<v1::Model> models(2, FakeEngine::Dit());
  for (auto& model : models) model.set_name("models/" + nasty);
  v1::GenerateRequest request;
  request.set_model(nasty);
  for (int i = 0; i < 4; ++i) *request.mutable_prompt() += nasty;
  request.set_task(static_cast<v1::Task>(-2'000'000'000));
  request.set_num_images(-2'000'000'000);
  request.set_request_id(nasty);
  request.mutable_output()->set_format(static_cast<v1::OutputFormat>(-2'000'000'000));
  for (int i = 0; i < 16; ++i) (*request.mutable_labels())[absl::StrCat(nasty, i)] = nasty;
  absl::Status status = Resolve(request, models).status();
  EXPECT_EQ(Violations(status).field_violations_size(), gateway_limits::kViolationsMax);
  EXPECT_LT(TrailerBytes(status), 7 * 1024) << status;

  request.clear_labels();
  request.clear_model();
  request.set_prompt(nasty);
  request.mutable_sampling()->set_guidance_scale(-1e308);
  request.mutable_sampling()->set_seed(std::numeric_limits<int64_t>::min());
  models = {FakeEngine::Dit()};
  models[0].clear_classes();
  for (int i = 0; i < 5; ++i) models[0].add_classes(absl::StrCat(i, nasty));
  status = Resolve(request, models).status();
  EXPECT_EQ(Fields(status)[0], "prompt");
  EXPECT_LT(TrailerBytes(status), 7 * 1024) << status;
}

TEST(ValidationTest, ParentIsTheCallersWhateverTheRequestSays) {
  v1::GenerateRequest request = Valid();
  request.set_parent("tenants/somebody");
  const auto resolved = Resolve(request);
  ASSERT_TRUE(resolved.ok());
  EXPECT_EQ(resolved->parent(), "tenants/local");
}

TEST(RequestHashTest, IgnoresTheRequestIdAlone) {
  v1::GenerateRequest request = Valid();
  for (int i = 0; i < 16; ++i) (*request.mutable_labels())[absl::StrCat("k", i)] = "v";
  const std::string hash = RequestHash(request);
  EXPECT_EQ(hash.size(), 64);
  v1::GenerateRequest other = Valid();
  for (int i = 15; i >= 0; --i) (*other.mutable_labels())[absl::StrCat("k", i)] = "v";
  other.set_request_id("123e4567-e89b-12d3-a456-426614174000");
  EXPECT_EQ(RequestHash(other), hash);
  other.mutable_sampling()->set_seed(0);
  EXPECT_NE(RequestHash(other), hash);
}

}  // namespace
}  // namespace darkroom
