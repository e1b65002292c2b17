// Every request of the API that tenants call: the first byte chooses the method, the rest is the
// message. Behind the API is an engine without workers.
#include <future>
#include <memory>

#include "fuzz/fuzz_target.h"
#include "gateway/api.h"
#include "gateway/asset_api.h"
#include "gateway/validation.h"
#include "tenancy/tenant_directory.h"
#include "testing/fake_clock.h"
#include "testing/fake_engine.h"

namespace darkroom::fuzz {
namespace {

struct Server {
  testing::FakeClock clock;
  testing::FakeEngine engine{{.automatic = false}};
  TenantDirectory tenants;
  Api api{
      engine, clock, {.random = [] { return uint64_t{4}; }, .pictures = {}, .tenants = &tenants}};
  AssetApi assets{nullptr, 1 << 20};
};

Server& TheServer() {
  static auto* server = [] {
    auto* made = new Server();
    v1::Tenant studio;
    studio.set_name("tenants/studio");
    studio.mutable_quotas()->set_steps_max(40);
    made->tenants.PutConfigured(studio);
    // What is valid goes as far as the engine's door.
    made->engine.RefuseSubmissions(absl::UnavailableError("draining"));
    return made;
  }();
  return *server;
}

using Handler = void (*)(std::string_view);

template <auto kMethod, typename Request, typename Response>
void CallApi(std::string_view bytes) {
  Request request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  auto call = std::make_shared<Call>();
  call->caller = {"fuzz", "studio", Roles(v1::ROLE_TENANT_USER)};
  // Shared: who waits may go on before set_value has returned.
  const auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
  auto done = promise->get_future();
  Server& server = TheServer();
  auto reply = [promise](absl::StatusOr<Response> response) {
    promise->set_value(std::move(response));
  };
  if constexpr (std::is_invocable_v<decltype(kMethod), Api&, Api::CallPtr, Request,
                                    Api::Reply<Response>>) {
    (server.api.*kMethod)(std::move(call), std::move(request), std::move(reply));
  } else {
    (server.assets.*kMethod)(std::move(call), std::move(request), std::move(reply));
  }
  const auto response = done.get();
  if (response.ok()) return;
  Require(response.status().code() != absl::StatusCode::kInternal, "no input is our own fault");
  Require(response.status().message().size() < 16'384, "an error is short");
}

void ResolveGenerate(std::string_view bytes) {
  v1::GenerateRequest request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const std::vector<v1::Model> models = TheServer().engine.Models();
  const auto resolved = ResolveGenerateRequest(
      request, "studio", models, [] { return uint64_t{4}; }, absl::FromUnixSeconds(1'700'000'000));
  if (!resolved.ok()) return;
  Require(resolved->num_images() >= 1 && resolved->sampling().steps() >= 1,
          "what is resolved has its defaults");
  Require(RequestHash(request).size() == 64, "every request has a hash");
}

const std::vector<Handler>& Handlers() {
  static const auto* handlers = new std::vector<Handler>{
      ResolveGenerate,
      CallApi<&Api::CreateGeneration, v1::CreateGenerationRequest, v1::Generation>,
      CallApi<&Api::EstimateGeneration, v1::EstimateGenerationRequest,
              v1::EstimateGenerationResponse>,
      CallApi<&Api::GetGeneration, v1::GetGenerationRequest, v1::Generation>,
      CallApi<&Api::ListGenerations, v1::ListGenerationsRequest, v1::ListGenerationsResponse>,
      CallApi<&Api::CancelGeneration, v1::CancelGenerationRequest, v1::Generation>,
      CallApi<&Api::DeleteGeneration, v1::DeleteGenerationRequest, google::protobuf::Empty>,
      CallApi<&Api::ListModels, v1::ListModelsRequest, v1::ListModelsResponse>,
      CallApi<&Api::GetModel, v1::GetModelRequest, v1::Model>,
      CallApi<&Api::GetServerInfo, v1::GetServerInfoRequest, v1::ServerInfo>,
      CallApi<&Api::GetStatus, v1::GetStatusRequest, v1::GetStatusResponse>,
      CallApi<&AssetApi::GetAsset, v1::GetAssetRequest, v1::Asset>,
      CallApi<&AssetApi::ListAssets, v1::ListAssetsRequest, v1::ListAssetsResponse>,
      CallApi<&AssetApi::DeleteAsset, v1::DeleteAssetRequest, google::protobuf::Empty>,
  };
  return *handlers;
}

}  // namespace

void Run(std::string_view bytes) {
  if (bytes.empty()) return;
  const auto& handlers = Handlers();
  handlers[static_cast<uint8_t>(bytes[0]) % handlers.size()](bytes.substr(1));
}

std::vector<std::string> Seeds() {
  v1::GenerateRequest generate;
  generate.set_model("models/flux");
  generate.set_prompt("strawberry");
  generate.set_width(512);
  generate.set_height(768);
  generate.set_num_images(2);
  generate.mutable_sampling()->set_steps(20);
  generate.mutable_sampling()->set_seed(7);
  generate.mutable_sampling()->set_guidance_scale(3.5);
  generate.mutable_output()->set_format(v1::OUTPUT_FORMAT_PNG);
  generate.mutable_preview()->set_every_n_steps(4);
  auto* input = generate.add_inputs();
  input->set_role(v1::INPUT_ROLE_INIT);
  input->set_data("not a picture");
  v1::GenerateRequest plain;
  plain.set_model("models/dit");
  plain.set_prompt("class 7");
  plain.set_request_id("123e4567-e89b-12d3-a456-426614174000");
  v1::CreateGenerationRequest create;
  *create.mutable_request() = plain;
  v1::EstimateGenerationRequest estimate;
  *estimate.mutable_request() = plain;
  v1::GetGenerationRequest get;
  get.set_name("tenants/studio/generations/a");
  v1::ListGenerationsRequest list;
  list.set_parent("tenants/studio");
  list.set_page_size(3);
  list.set_page_token("AAAA");
  v1::GetAssetRequest asset;
  asset.set_name("tenants/studio/assets/" + std::string(64, 'a'));
  const auto seed = [](char method, const google::protobuf::MessageLite& message) {
    return method + message.SerializeAsString();
  };
  return {seed(0, generate), seed(0, plain), seed(1, create), seed(2, estimate), seed(3, get),
          seed(4, list),     seed(5, get),   seed(6, get),    seed(11, asset)};
}

}  // namespace darkroom::fuzz
