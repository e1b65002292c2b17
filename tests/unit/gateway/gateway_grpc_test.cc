// Every method over a real connection, and how its errors look on the wire.

#include <limits>
#include <set>

#include "base/wall_time.h"
#include "gateway_fixture.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::darkroom::testing::GatewayFixture;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kFirst[] = "tenants/local/generations/g00000001";

class GatewayTest : public GatewayFixture {
 protected:
  template <typename Request, typename Response, typename Stub>
  grpc::Status Call(Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    return (stub.*method)(&context, request, &response);
  }
};

TEST_F(GatewayTest, CreateGetListCancelDelete) {
  StartGateway();
  v1::GenerateRequest request = Goldfish();
  request.set_num_images(2);
  (*request.mutable_labels())["project"] = "aquarium";
  EXPECT_EQ(Create(request), kFirst);
  ASSERT_TRUE(
      Eventually([&] { return engine_->Get(kFirst).state() == v1::Generation::STATE_SUCCEEDED; }));

  v1::GetGenerationRequest get;
  get.set_name(kFirst);
  v1::Generation generation;
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation).ok());
  EXPECT_EQ(generation.request().labels().at("project"), "aquarium");
  EXPECT_EQ(generation.request().width(), 128);
  ASSERT_EQ(generation.outputs_size(), 2);
  EXPECT_EQ(generation.outputs(1).data(), "");
  get.set_include_outputs(true);
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation).ok());
  EXPECT_EQ(generation.outputs(1).data(), FakeEngine::OutputBytes(1000, 1));

  v1::ListGenerationsResponse list;
  ASSERT_TRUE(Call(*generations_, &v1::GenerationService::Stub::ListGenerations,
                   v1::ListGenerationsRequest(), list)
                  .ok());
  ASSERT_EQ(list.generations_size(), 1);
  EXPECT_EQ(list.generations(0).name(), kFirst);

  v1::CancelGenerationRequest cancel;
  cancel.set_name(kFirst);
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::CancelGeneration, cancel, generation).ok());
  EXPECT_EQ(generation.state(), v1::Generation::STATE_SUCCEEDED);

  v1::DeleteGenerationRequest erase;
  erase.set_name(kFirst);
  google::protobuf::Empty empty;
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::DeleteGeneration, erase, empty).ok());
  const grpc::Status gone =
      Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation);
  EXPECT_EQ(gone.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(gone), "GENERATION_NOT_FOUND");
}

TEST_F(GatewayTest, ModelsAndServerInfo) {
  StartGateway();
  engine_->SetModels({FakeEngine::Flux(), FakeEngine::Dit()});
  v1::ListModelsRequest list;
  list.set_page_size(1);
  v1::ListModelsResponse models;
  ASSERT_TRUE(Call(*models_, &v1::ModelService::Stub::ListModels, list, models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).name(), "models/dit");
  list.set_page_token(models.next_page_token());
  ASSERT_TRUE(Call(*models_, &v1::ModelService::Stub::ListModels, list, models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).name(), "models/flux");
  EXPECT_EQ(models.next_page_token(), "");

  v1::GetModelRequest get;
  get.set_name("models/flux");
  v1::Model model;
  ASSERT_TRUE(Call(*models_, &v1::ModelService::Stub::GetModel, get, model).ok());
  EXPECT_EQ(model.family(), "FluxPipeline");
  get.set_name("models/sd");
  EXPECT_EQ(Reason(Call(*models_, &v1::ModelService::Stub::GetModel, get, model)),
            "MODEL_NOT_FOUND");

  v1::ServerInfo info;
  ASSERT_TRUE(
      Call(*admin_, &v1::ServerAdminService::Stub::GetServerInfo, v1::GetServerInfoRequest(), info)
          .ok());
  EXPECT_EQ(info.version(), "0.0.0-fake");
}

TEST_F(GatewayTest, EstimatesCheckTheRequestAndCreateNothing) {
  StartGateway();
  v1::EstimateGenerationRequest request;
  *request.mutable_request() = Goldfish();
  v1::EstimateGenerationResponse estimate;
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::EstimateGeneration, request, estimate)
          .ok());
  EXPECT_EQ(estimate.resolved().height(), 128);
  EXPECT_EQ(estimate.forecast().wait_reason(), v1::WAIT_REASON_NONE);
  EXPECT_FALSE(estimate.has_refusal());
  EXPECT_THAT(engine_->submitted(), ::testing::IsEmpty());

  request.mutable_request()->mutable_sampling()->set_steps(0);
  const grpc::Status invalid =
      Call(*generations_, &v1::GenerationService::Stub::EstimateGeneration, request, estimate);
  EXPECT_EQ(Reason(invalid), "STEPS_OUT_OF_RANGE");
}

TEST_F(GatewayTest, StatusComesFromTheEngine) {
  StartGateway();
  v1::GetStatusResponse status;
  ASSERT_TRUE(
      Call(*admin_, &v1::ServerAdminService::Stub::GetStatus, v1::GetStatusRequest(), status).ok());
  EXPECT_EQ(status.server().version(), "0.0.0-fake");
  ASSERT_EQ(status.tenants_size(), 1);
}

TEST_F(GatewayTest, ACallIsTheTenantsThatItsMetadataNames) {
  Gateway::Options options;
  const TenantDirectory directory({"local", "ada"});
  options.directory = &directory;
  StartGateway({}, options);
  const auto create = [&](const std::vector<std::string>& keys, v1::Generation& generation) {
    grpc::ClientContext context;
    for (const std::string& key : keys) context.AddMetadata("darkroom-tenant", key);
    v1::CreateGenerationRequest request;
    *request.mutable_request() = Goldfish();
    return generations_->CreateGeneration(&context, request, &generation);
  };
  v1::Generation generation;
  ASSERT_TRUE(create({"ada"}, generation).ok());
  EXPECT_THAT(generation.name(), StartsWith("tenants/ada/"));
  ASSERT_TRUE(create({}, generation).ok());
  EXPECT_THAT(generation.name(), StartsWith("tenants/local/"));
  const grpc::Status unknown = create({"grace"}, generation);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Reason(unknown), "TENANT_UNKNOWN");
  EXPECT_EQ(Reason(create({"ada", "ada"}, generation)), "TENANT_KEY_REPEATED");
}

TEST_F(GatewayTest, ValidateOnlyCreatesNothing) {
  StartGateway();
  v1::CreateGenerationRequest create;
  *create.mutable_request() = Goldfish();
  create.mutable_request()->set_validate_only(true);
  v1::Generation generation;
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::CreateGeneration, create, generation).ok());
  EXPECT_EQ(generation.name(), "");
  EXPECT_EQ(generation.state(), v1::Generation::STATE_UNSPECIFIED);
  EXPECT_EQ(generation.request().height(), 128);
  EXPECT_TRUE(generation.request().sampling().has_seed());

  grpc::ClientContext context;
  const auto reader = generations_->Generate(&context, create.request());
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.queued().resolved().request().sampling().steps(), 2);
  EXPECT_EQ(event.queued().resolved().name(), "");
  EXPECT_EQ(event.time().seconds(), 1'700'000'000);
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(engine_->submitted(), IsEmpty());
}

TEST_F(GatewayTest, ErrorsCarryEveryMistakeInTheirDetails) {
  StartGateway();
  v1::CreateGenerationRequest create;
  create.mutable_request()->set_prompt("gold fish");
  create.mutable_request()->mutable_sampling()->set_steps(0);
  v1::Generation generation;
  const grpc::Status status =
      Call(*generations_, &v1::GenerationService::Stub::CreateGeneration, create, generation);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "FIELDS_INVALID");
  const google::rpc::Status details = Details(status);
  google::rpc::BadRequest bad_request;
  for (const auto& detail : details.details()) detail.UnpackTo(&bad_request);
  ASSERT_EQ(bad_request.field_violations_size(), 2);
  EXPECT_EQ(bad_request.field_violations(1).description(), "is 0; must be 1 to 250; nearest: 1");
}

TEST_F(GatewayTest, RefusalsSayWhenToRetry) {
  StartGateway();
  engine_->RefuseSubmissions(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "full")
                                 .RetryAfter(absl::Milliseconds(1500)));
  v1::CreateGenerationRequest create;
  *create.mutable_request() = Goldfish();
  v1::Generation generation;
  grpc::ClientContext context;
  const grpc::Status status = generations_->CreateGeneration(&context, create, &generation);
  EXPECT_EQ(Reason(status), "QUEUE_FULL");
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto pushback = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(pushback, trailers.end());
  EXPECT_EQ(pushback->second, "1500");

  // A stream ends with the same.
  grpc::ClientContext stream_context;
  const auto reader = generations_->Generate(&stream_context, Goldfish());
  v1::GenerateEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(Reason(reader->Finish()), "QUEUE_FULL");
  EXPECT_EQ(stream_context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1);
}

// Another tenant's generation exists; to this caller it must not, byte for byte.
TEST_F(GatewayTest, ForeignAndMissingAreTheSameBytes) {
  StartGateway();
  v1::Generation foreign;
  foreign.set_name("tenants/rival/generations/g00000001");
  engine_->Insert(foreign);
  const auto ask = [&](const std::string& name) {
    std::vector<grpc::Status> answers;
    v1::Generation generation;
    google::protobuf::Empty empty;
    v1::GetGenerationRequest get;
    get.set_name(name);
    answers.push_back(
        Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation));
    get.set_include_outputs(true);
    answers.push_back(
        Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation));
    v1::CancelGenerationRequest cancel;
    cancel.set_name(name);
    answers.push_back(
        Call(*generations_, &v1::GenerationService::Stub::CancelGeneration, cancel, generation));
    v1::DeleteGenerationRequest erase;
    erase.set_name(name);
    answers.push_back(
        Call(*generations_, &v1::GenerationService::Stub::DeleteGeneration, erase, empty));
    v1::WatchGenerationRequest watch;
    watch.set_name(name);
    grpc::ClientContext context;
    const auto reader = generations_->WatchGeneration(&context, watch);
    v1::GenerateEvent event;
    EXPECT_FALSE(reader->Read(&event));
    answers.push_back(reader->Finish());
    return answers;
  };
  const auto missing = ask("tenants/local/generations/g99999999");
  for (const char* name :
       {"tenants/rival/generations/g00000001", "tenants/nobody/generations/g00000001"}) {
    const auto answers = ask(name);
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i].error_code(), grpc::StatusCode::NOT_FOUND);
      EXPECT_EQ(answers[i].error_message(), missing[i].error_message());
      EXPECT_EQ(answers[i].error_details(), missing[i].error_details());
    }
  }
  EXPECT_THAT(engine_->names_asked(), Each(StartsWith("tenants/local/")));

  // The same for parents.
  const auto ask_parent = [&](const std::string& parent) {
    v1::ListGenerationsRequest list;
    list.set_parent(parent);
    v1::ListGenerationsResponse response;
    const auto listed =
        Call(*generations_, &v1::GenerationService::Stub::ListGenerations, list, response);
    v1::CreateGenerationRequest create;
    *create.mutable_request() = Goldfish();
    create.mutable_request()->set_parent(parent);
    v1::Generation generation;
    const auto created =
        Call(*generations_, &v1::GenerationService::Stub::CreateGeneration, create, generation);
    EXPECT_EQ(created.error_details(), listed.error_details());
    return listed.error_details();
  };
  EXPECT_EQ(ask_parent("tenants/rival"), ask_parent("tenants/nobody"));
  EXPECT_EQ(ask_parent("tenants/local"), "");
}

TEST_F(GatewayTest, MalformedNamesAndPages) {
  StartGateway();
  v1::Generation generation;
  for (const std::string& name :
       {std::string(), std::string("g1"), std::string("tenants/local/generations/"),
        std::string("tenants/local/generations/../../etc"),
        std::string("tenants/local/generations/a/b"), std::string("tenants/LOCAL/generations/a"),
        std::string("tenants/local/generations/a\n"), std::string(1 << 20, '/'),
        std::string("tenants/local/generations/") + std::string(64, 'a')}) {
    v1::GetGenerationRequest get;
    get.set_name(name);
    EXPECT_EQ(
        Reason(Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation)),
        "RESOURCE_NAME_INVALID")
        << name.substr(0, 60);
  }
  v1::ListGenerationsResponse response;
  const auto list = [&](const v1::ListGenerationsRequest& request) {
    return Reason(
        Call(*generations_, &v1::GenerationService::Stub::ListGenerations, request, response));
  };
  v1::ListGenerationsRequest request;
  for (const int size : {-1, 1001, std::numeric_limits<int32_t>::max()}) {
    request.set_page_size(size);
    EXPECT_EQ(list(request), "PAGE_SIZE_OUT_OF_RANGE") << size;
  }
  request.Clear();
  request.set_page_token(std::string(513, 'x'));
  EXPECT_EQ(list(request), "PAGE_TOKEN_INVALID");
  request.Clear();
  request.add_states(static_cast<v1::Generation::State>(99));
  EXPECT_EQ(list(request), "STATE_UNKNOWN");
  request.Clear();
  request.set_parent("tenants/");
  EXPECT_EQ(list(request), "RESOURCE_NAME_INVALID");
}

TEST_F(GatewayTest, PagesAreWholeWhateverTheirSize) {
  StartGateway();
  for (int i = 0; i < 300; ++i) {
    v1::Generation generation;
    generation.set_name(absl::StrCat("tenants/local/generations/x", 1000 + i));
    generation.set_state(i % 3 == 0 ? v1::Generation::STATE_FAILED
                                    : v1::Generation::STATE_SUCCEEDED);
    generation.mutable_request()->set_prompt(std::string(10'000, 'p'));
    engine_->Insert(generation);
  }
  for (const int page_size : {1, 63, 64, 65, 128, 1000}) {
    std::set<std::string> seen;
    v1::ListGenerationsRequest request;
    request.set_page_size(page_size);
    request.add_states(v1::Generation::STATE_FAILED);
    request.add_states(v1::Generation::STATE_FAILED);
    do {
      v1::ListGenerationsResponse response;
      ASSERT_TRUE(
          Call(*generations_, &v1::GenerationService::Stub::ListGenerations, request, response)
              .ok());
      EXPECT_LE(response.generations_size(), page_size);
      for (const auto& generation : response.generations()) seen.insert(generation.name());
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    EXPECT_EQ(seen.size(), 100) << page_size;
  }
  // A full page of long prompts stays below what clients accept by default.
  v1::ListGenerationsRequest request;
  request.set_page_size(1000);
  v1::ListGenerationsResponse response;
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::ListGenerations, request, response).ok());
  EXPECT_LT(response.ByteSizeLong(), size_t{4} << 20);
  EXPECT_GT(response.generations_size(), 150);
  EXPECT_NE(response.next_page_token(), "");
}

TEST_F(GatewayTest, IncludedOutputsAreBounded) {
  FakeEngine::Options options;
  options.output_bytes = 40 << 20;
  StartGateway(options);
  v1::GenerateRequest request = Goldfish(1);
  const std::string one = Create(request);
  request.set_num_images(2);
  const std::string two = Create(request);
  ASSERT_TRUE(
      Eventually([&] { return engine_->Get(two).state() == v1::Generation::STATE_SUCCEEDED; }));
  v1::GetGenerationRequest get;
  get.set_include_outputs(true);
  v1::Generation generation;
  get.set_name(one);
  ASSERT_TRUE(
      Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation).ok());
  EXPECT_EQ(generation.outputs(0).data().size(), size_t{40} << 20);
  get.set_name(two);
  const grpc::Status status =
      Call(*generations_, &v1::GenerationService::Stub::GetGeneration, get, generation);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Reason(status), "OUTPUTS_TOO_LARGE");
  EXPECT_EQ(engine_->outputs_read(), 1);
}

TEST_F(GatewayTest, LibrarysTextNeverReachesAClient) {
  StartGateway();
  engine_->RefuseSubmissions(absl::InternalError("sqlite: /var/lib/darkroom/db is locked"));
  v1::CreateGenerationRequest create;
  *create.mutable_request() = Goldfish();
  v1::Generation generation;
  const grpc::Status status =
      Call(*generations_, &v1::GenerationService::Stub::CreateGeneration, create, generation);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(Reason(status), "INTERNAL");
  EXPECT_THAT(status.error_message() + status.error_details(), Not(::testing::HasSubstr("sqlite")));
}

TEST_F(GatewayTest, RepeatedRequestIdAttaches) {
  StartGateway();
  v1::GenerateRequest request = Goldfish();
  request.set_request_id("123e4567-e89b-12d3-a456-426614174000");
  const std::string name = Create(request);
  request.set_request_id("123E4567-E89B-12D3-A456-426614174000");
  EXPECT_EQ(Create(request), name);
  v1::CreateGenerationRequest create;
  *create.mutable_request() = request;
  create.mutable_request()->set_num_images(2);
  v1::Generation generation;
  const grpc::Status status =
      Call(*generations_, &v1::GenerationService::Stub::CreateGeneration, create, generation);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Reason(status), "REQUEST_ID_REUSED");
}

TEST_F(GatewayTest, RepeatedRequestIdAttachesAfterItsDeadline) {
  StartGateway();
  v1::GenerateRequest request = Goldfish();
  request.set_request_id("123e4567-e89b-12d3-a456-426614174000");
  *request.mutable_deadline() = ToTimestamp(clock_.WallTime() + absl::Seconds(1));
  const std::string name = Create(request);
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(Create(request), name);
  grpc::ClientContext context;
  const auto stream = generations_->Generate(&context, request);
  v1::GenerateEvent event;
  ASSERT_TRUE(stream->Read(&event));
  EXPECT_EQ(event.generation(), name);
  while (stream->Read(&event)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  // Whatever else is wrong with the deadline is still refused.
  v1::CreateGenerationRequest create;
  v1::Generation generation;
  for (const bool same_id : {true, false}) {
    *create.mutable_request() = request;
    if (same_id) {
      create.mutable_request()->set_num_images(2);
    } else {
      create.mutable_request()->set_request_id("00000000-e89b-12d3-a456-426614174000");
    }
    EXPECT_EQ(Reason(Call(*generations_, &v1::GenerationService::Stub::CreateGeneration, create,
                          generation)),
              "DEADLINE_PASSED");
  }
}

TEST_F(GatewayTest, HealthFollowsDrain) {
  StartGateway();
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  const auto check = [&](const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status = health->Check(&context, request, &response);
    return status.ok() ? response.status() : grpc::health::v1::HealthCheckResponse::SERVICE_UNKNOWN;
  };
  using Response = grpc::health::v1::HealthCheckResponse;
  EXPECT_EQ(check(""), Response::SERVING);
  EXPECT_EQ(check("darkroom.v1.GenerationService"), Response::SERVING);
  EXPECT_EQ(check("no.such.Service"), Response::SERVICE_UNKNOWN);
  gateway_->SetServing(false);
  EXPECT_EQ(check("darkroom.v1.GenerationService"), Response::NOT_SERVING);
  gateway_->SetServing(true);
  gateway_->Drain();
  EXPECT_EQ(check(""), Response::NOT_SERVING);
  EXPECT_EQ(check("darkroom.v1.GenerationService"), Response::NOT_SERVING);
  gateway_->SetServing(true);
  EXPECT_EQ(check("darkroom.v1.GenerationService"), Response::NOT_SERVING);
  // Reading still works.
  v1::ListGenerationsResponse list;
  EXPECT_TRUE(Call(*generations_, &v1::GenerationService::Stub::ListGenerations,
                   v1::ListGenerationsRequest(), list)
                  .ok());
}

TEST_F(GatewayTest, TakenPortAndForeignAddressesAreRefused) {
  StartGateway();
  Gateway::Options options;
  options.address = absl::StrCat("127.0.0.1:", gateway_->port());
  EXPECT_EQ(ErrorReason(Gateway::Start(options, *engine_, clock_).status()), "LISTEN_FAILED");
  options.address = "0.0.0.0:0";
  EXPECT_EQ(ErrorReason(Gateway::Start(options, *engine_, clock_).status()), "LISTEN_NOT_LOOPBACK");
  options.address = "127.0.0.1:0";
  for (const int calls_max : {0, -1, 65'537}) {
    options.calls_max = calls_max;
    EXPECT_EQ(ErrorReason(Gateway::Start(options, *engine_, clock_).status()),
              "CALLS_MAX_OUT_OF_RANGE");
  }
}

}  // namespace
}  // namespace darkroom
