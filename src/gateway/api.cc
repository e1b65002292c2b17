#include "gateway/api.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/tenant_key.h"
#include "base/wall_time.h"
#include "gateway/field_errors.h"
#include "gateway/gather.h"
#include "gateway/limits.h"
#include "gateway/paging.h"
#include "gateway/parent.h"
#include "gateway/reply_errors.h"
#include "gateway/tenant_quotas.h"
#include "gateway/text.h"
#include "gateway/validation.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

// The name of a generation of the caller's own tenant.
absl::StatusOr<std::string> OwnGeneration(const Call& call, std::string_view name) {
  // Any name longer than the bound is malformed; parsing its start says so without the work.
  auto parsed = GenerationName::Parse(name.substr(0, limits::kResourceNameBytesMax), "name");
  if (!parsed.ok()) return parsed.status();
  if (parsed->tenant == kOwnTenant) parsed->tenant = call.caller.tenant;
  if (parsed->tenant != call.caller.tenant) return GenerationNotFound();
  return parsed->ToString();
}

// The generation that validate_only answers with: nothing was created, so no name and no state.
v1::Generation Hypothetical(v1::GenerateRequest resolved) {
  v1::Generation generation;
  *generation.mutable_request() = std::move(resolved);
  return generation;
}

}  // namespace

Api::Api(Engine& engine, Clock& clock, Options options)
    : engine_(engine),
      clock_(clock),
      options_(std::move(options)),
      included_outputs_(limits::kIncludedOutputsBytesInFlightMax) {}

std::shared_ptr<const v1::Tenant> Api::TenantOf(const Call& call) const {
  auto tenant = options_.tenants->Find(call.caller.tenant);
  return tenant != nullptr ? tenant : std::make_shared<const v1::Tenant>();
}

std::vector<v1::Model> Api::ModelsOf(const Call& call) const {
  return ModelsFor(*TenantOf(call), engine_.Models());
}

Api::RequestKey Api::KeyOf(const Call& call, const v1::GenerateRequest& request) {
  if (request.validate_only() || !IsRequestId(request.request_id())) return {};
  return {call.caller.tenant, absl::AsciiStrToLower(request.request_id()), RequestHash(request)};
}

void Api::Refuse(const RequestKey& key, absl::Status refusal, Reply<v1::Generation> reply) {
  if (key.request_id.empty()) return std::move(reply)(std::move(refusal));
  engine_.FindRequest(key.tenant, key.request_id, key.hash,
                      [refusal = std::move(refusal),
                       reply = std::move(reply)](absl::StatusOr<v1::Generation> found) mutable {
                        if (!found.ok()) found = std::move(refusal);
                        std::move(reply)(std::move(found));
                      });
}

void Api::Resolve(const Call& call, v1::GenerateRequest request, const RequestKey& key,
                  Callback<absl::StatusOr<Engine::Submit>> done) {
  if (absl::Status status = CheckParent(call, request.parent(), "parent"); !status.ok()) {
    return std::move(done)(status);
  }
  const auto tenant = TenantOf(call);
  const std::vector<v1::Model> models = ModelsFor(*tenant, engine_.Models());
  auto resolved = ResolveGenerateRequest(request, call.caller.tenant, models, options_.random,
                                         clock_.WallTime());
  if (!resolved.ok()) return std::move(done)(resolved.status());
  if (absl::Status status = CheckRequestQuotas(*tenant, *resolved); !status.ok()) {
    return std::move(done)(status);
  }
  Engine::Submit submit;
  submit.tenant = call.caller.tenant;
  submit.request_hash = key.hash;
  submit.request = *std::move(resolved);
  const auto model = std::find_if(models.begin(), models.end(), [&](const v1::Model& candidate) {
    return candidate.name() == submit.request.model();
  });
  GatherInputs(options_.pictures, *model, std::move(request), std::move(submit),
               [tenant, done = std::move(done)](absl::StatusOr<Engine::Submit> gathered) mutable {
                 // Once more: a size that was left to a picture is known by now.
                 absl::Status status = gathered.status();
                 if (status.ok()) status = CheckRequestQuotas(*tenant, gathered->request);
                 if (!status.ok()) return std::move(done)(status);
                 std::move(done)(std::move(gathered));
               });
}

void Api::CreateGeneration(CallPtr call, v1::CreateGenerationRequest request,
                           Reply<v1::Generation> reply) {
  const RequestKey key = KeyOf(*call, request.request());
  Resolve(
      *call, std::move(*request.mutable_request()), key,
      [this, call, key, reply = std::move(reply)](absl::StatusOr<Engine::Submit> submit) mutable {
        if (!submit.ok()) return Refuse(key, submit.status(), std::move(reply));
        if (submit->request.validate_only()) {
          return std::move(reply)(Hypothetical(std::move(submit->request)));
        }
        submit->abandon = Engine::Abandon::kKeep;
        engine_.SubmitGeneration(*std::move(submit), std::move(reply));
      });
}

void Api::EstimateGeneration(CallPtr call, v1::EstimateGenerationRequest request,
                             Reply<v1::EstimateGenerationResponse> reply) {
  Resolve(*call, std::move(*request.mutable_request()), {},
          [this, call, reply = std::move(reply)](absl::StatusOr<Engine::Submit> submit) mutable {
            if (!submit.ok()) return std::move(reply)(submit.status());
            engine_.EstimateGeneration(*std::move(submit), std::move(reply));
          });
}

void Api::Generate(CallPtr call, v1::GenerateRequest request, std::shared_ptr<EventFeed> feed) {
  const RequestKey key = KeyOf(*call, request);
  Resolve(
      *call, std::move(request), key,
      [this, call, key, feed](absl::StatusOr<Engine::Submit> submit) {
        if (!submit.ok()) {
          return Refuse(key, submit.status(), [feed](absl::StatusOr<v1::Generation> known) {
            feed->StartAttached(std::move(known));
          });
        }
        if (submit->request.validate_only()) {
          v1::GenerateEvent event;
          *event.mutable_time() = ToTimestamp(clock_.WallTime());
          *event.mutable_queued()->mutable_resolved() = Hypothetical(std::move(submit->request));
          return feed->StartSingle(std::move(event));
        }
        submit->abandon = submit->request.request_id().empty() ? Engine::Abandon::kCancelNow
                                                               : Engine::Abandon::kCancelAfterGrace;
        feed->StartSubmit(*std::move(submit));
      });
}

void Api::WatchGeneration(CallPtr call, v1::WatchGenerationRequest request,
                          std::shared_ptr<EventFeed> feed) {
  auto name = OwnGeneration(*call, request.name());
  if (!name.ok()) return feed->StartError(name.status());
  if (request.after_sequence() < 0) {
    FieldErrors errors;
    errors.Add("after_sequence", "SEQUENCE_OUT_OF_RANGE",
               absl::StrCat("is ", request.after_sequence()),
               "must be 0 or an event's sequence number; nearest: 0");
    return feed->StartError(errors.ToStatus());
  }
  feed->StartWatch(*std::move(name), request.after_sequence());
}

void Api::GetGeneration(CallPtr call, v1::GetGenerationRequest request,
                        Reply<v1::Generation> reply) {
  auto name = OwnGeneration(*call, request.name());
  if (!name.ok()) return std::move(reply)(name.status());
  if (!request.include_outputs()) return engine_.GetGeneration(*name, std::move(reply));
  engine_.GetGeneration(*name, [this, call = std::move(call), reply = std::move(reply)](
                                   absl::StatusOr<v1::Generation> generation) mutable {
    if (!generation.ok()) return std::move(reply)(generation.status());
    GatherOutputs(engine_, included_outputs_, std::move(call), *std::move(generation),
                  std::move(reply));
  });
}

void Api::ListGenerations(CallPtr call, v1::ListGenerationsRequest request,
                          Reply<v1::ListGenerationsResponse> reply) {
  if (absl::Status status = CheckParent(*call, request.parent(), "parent"); !status.ok()) {
    return std::move(reply)(status);
  }
  FieldErrors errors;
  GenerationStore::ListQuery query;
  query.tenant = call->caller.tenant;
  query.page_size = CheckedPageSize(request.page_size(), errors);
  query.page_token = CheckedPageToken(request.page_token(), errors);
  for (const int state : request.states()) {
    if (!v1::Generation::State_IsValid(state) || state == v1::Generation::STATE_UNSPECIFIED) {
      errors.Add("states", "STATE_UNKNOWN", absl::StrCat("has ", state, ", which is no state"),
                 "must be states of Generation other than STATE_UNSPECIFIED");
      break;
    }
    const auto known = static_cast<v1::Generation::State>(state);
    if (std::find(query.states.begin(), query.states.end(), known) == query.states.end()) {
      query.states.push_back(known);
    }
  }
  if (!errors.empty()) return std::move(reply)(errors.ToStatus());
  GatherPage(engine_, std::move(query), std::move(reply));
}

void Api::CancelGeneration(CallPtr call, v1::CancelGenerationRequest request,
                           Reply<v1::Generation> reply) {
  auto name = OwnGeneration(*call, request.name());
  if (!name.ok()) return std::move(reply)(name.status());
  engine_.CancelGeneration(*name, std::move(reply));
}

void Api::DeleteGeneration(CallPtr call, v1::DeleteGenerationRequest request,
                           Reply<google::protobuf::Empty> reply) {
  auto name = OwnGeneration(*call, request.name());
  if (!name.ok()) return std::move(reply)(name.status());
  engine_.DeleteGeneration(*name, [reply = std::move(reply)](absl::Status status) mutable {
    if (!status.ok()) return std::move(reply)(status);
    std::move(reply)(google::protobuf::Empty());
  });
}

void Api::ListModels(CallPtr call, v1::ListModelsRequest request,
                     Reply<v1::ListModelsResponse> reply) {
  FieldErrors errors;
  const int page_size = CheckedPageSize(request.page_size(), errors);
  const std::string after = CheckedPageToken(request.page_token(), errors);
  if (!errors.empty()) return std::move(reply)(errors.ToStatus());
  std::vector<v1::Model> models = ModelsOf(*call);
  std::sort(models.begin(), models.end(),
            [](const v1::Model& a, const v1::Model& b) { return a.name() < b.name(); });
  // The token is the last name given, so that a model that comes or goes meanwhile shifts nothing.
  v1::ListModelsResponse response;
  for (v1::Model& model : models) {
    if (model.name() <= after) continue;
    if (response.models_size() == page_size) {
      response.set_next_page_token(response.models(page_size - 1).name());
      break;
    }
    *response.add_models() = std::move(model);
  }
  std::move(reply)(std::move(response));
}

void Api::GetModel(CallPtr call, v1::GetModelRequest request, Reply<v1::Model> reply) {
  for (v1::Model& model : ModelsOf(*call)) {
    if (model.name() == request.name()) return std::move(reply)(std::move(model));
  }
  std::move(reply)(absl::Status(
      Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
            absl::StrCat("there is no model ", Quoted(request.name(), limits::kQuotedBytesMax),
                         "; ListModels tells what is served"))));
}

void Api::GetServerInfo(CallPtr call, v1::GetServerInfoRequest request,
                        Reply<v1::ServerInfo> reply) {
  std::move(reply)(engine_.Info());
}

void Api::GetStatus(CallPtr call, v1::GetStatusRequest request,
                    Reply<v1::GetStatusResponse> reply) {
  engine_.GetStatus(std::move(reply));
}

}  // namespace darkroom
