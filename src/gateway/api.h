#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "darkroom/engine.h"
#include "darkroom/v1/admin.pb.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/model.pb.h"
#include "gateway/call.h"
#include "gateway/event_feed.h"
#include "gateway/input_gatherer.h"
#include "google/protobuf/empty.pb.h"
#include "tenancy/tenant_directory.h"

namespace darkroom {

// What every method of the API means, whichever transport it came by: checks the request, resolves
// names within the caller's tenant, asks the engine. Another tenant's resource and a missing one
// give the same bytes.
//
// Thread-safe; never blocks. Replies come on the caller's thread or an engine thread, exactly once.
// Every error of a reply was made by Error. `engine` and `clock` must outlive all replies.
class Api {
 public:
  struct Options {
    // 64 random bits for seeds nobody chose; called on several threads at once.
    std::function<uint64_t()> random;
    // Must outlive all replies.
    PictureServices pictures;
    // Whose limits requests are held to. Never null; must outlive all replies.
    const TenantDirectory* tenants = nullptr;
  };
  Api(Engine& engine, Clock& clock, Options options);

  template <typename T>
  using Reply = Callback<absl::StatusOr<T>>;
  using CallPtr = std::shared_ptr<Call>;

  void CreateGeneration(CallPtr call, v1::CreateGenerationRequest request,
                        Reply<v1::Generation> reply);
  void EstimateGeneration(CallPtr call, v1::EstimateGenerationRequest request,
                          Reply<v1::EstimateGenerationResponse> reply);
  void GetGeneration(CallPtr call, v1::GetGenerationRequest request, Reply<v1::Generation> reply);
  void ListGenerations(CallPtr call, v1::ListGenerationsRequest request,
                       Reply<v1::ListGenerationsResponse> reply);
  void CancelGeneration(CallPtr call, v1::CancelGenerationRequest request,
                        Reply<v1::Generation> reply);
  void DeleteGeneration(CallPtr call, v1::DeleteGenerationRequest request,
                        Reply<google::protobuf::Empty> reply);
  void ListModels(CallPtr call, v1::ListModelsRequest request, Reply<v1::ListModelsResponse> reply);
  void GetModel(CallPtr call, v1::GetModelRequest request, Reply<v1::Model> reply);
  void GetServerInfo(CallPtr call, v1::GetServerInfoRequest request, Reply<v1::ServerInfo> reply);
  void GetStatus(CallPtr call, v1::GetStatusRequest request, Reply<v1::GetStatusResponse> reply);

  // Streams: `feed` is new; it gives its sink events and finally the call's status.
  void Generate(CallPtr call, v1::GenerateRequest request, std::shared_ptr<EventFeed> feed);
  void WatchGeneration(CallPtr call, v1::WatchGenerationRequest request,
                       std::shared_ptr<EventFeed> feed);

  Engine& engine() { return engine_; }

 private:
  // How a request is known again when it is repeated; empty where it cannot be.
  struct RequestKey {
    std::string tenant;
    std::string request_id;
    std::string hash;
  };
  static RequestKey KeyOf(const Call& call, const v1::GenerateRequest& request);

  // The caller's tenant; one without any limit where it has gone since the call came in, which the
  // engine refuses.
  std::shared_ptr<const v1::Tenant> TenantOf(const Call& call) const;
  // Those that there are for the caller.
  std::vector<v1::Model> ModelsOf(const Call& call) const;
  // The request with its defaults, after every check, and its pictures decoded; see
  // ResolveGenerateRequest and GatherInputs. Answers on the caller's thread unless there are any.
  void Resolve(const Call& call, v1::GenerateRequest request, const RequestKey& key,
               Callback<absl::StatusOr<Engine::Submit>> done);
  // Answers a request that was refused before the engine saw it: with the generation that it made
  // when it came first, or with the refusal.
  void Refuse(const RequestKey& key, absl::Status refusal, Reply<v1::Generation> reply);

  Engine& engine_;
  Clock& clock_;
  const Options options_;
  // Bytes of outputs inside unary replies that are not yet sent.
  Budget included_outputs_;
};

}  // namespace darkroom
