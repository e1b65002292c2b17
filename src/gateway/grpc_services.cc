#include "gateway/grpc_services.h"

#include <utility>

#include "darkroom/v1/admin.grpc.pb.h"
#include "darkroom/v1/generation.grpc.pb.h"
#include "darkroom/v1/model.grpc.pb.h"
#include "gateway/grpc_reply.h"
#include "gateway/methods.h"
#include "gateway/unary_methods.h"

namespace darkroom {
namespace {

using grpc::ByteBuffer;
using Context = grpc::CallbackServerContext;

// One stream of events. Lives until gRPC is done with it, which is after its feed's End.
class EventCall final : public grpc::ServerWriteReactor<ByteBuffer>, public EventSink {
 public:
  EventCall(Context& context, Engine& engine)
      : context_(context), feed_(EventFeed::Create(engine, *this)) {}

  void Hold(std::shared_ptr<Call> call) { call_ = std::move(call); }
  const std::shared_ptr<EventFeed>& feed() const { return feed_; }

  // EventSink.
  void Send(const v1::GenerateEvent& event) override {
    out_ = SerializeMessage(event);
    StartWrite(&out_);
  }
  void End(const absl::Status& status) override { Finish(EndStatus(status, context_)); }

  // grpc::ServerWriteReactor. gRPC does not call OnDone while one of the others runs.
  void OnWriteDone(bool ok) override {
    out_.Clear();
    feed_->OnSent(ok);
  }
  void OnCancel() override { feed_->OnCancelled(); }
  void OnDone() override { delete this; }

 private:
  Context& context_;
  const std::shared_ptr<EventFeed> feed_;
  std::shared_ptr<Call> call_;
  ByteBuffer out_;
};

// Beside unary methods, those that end in a stream of events.
class Methods : protected UnaryMethods<Api> {
 protected:
  using UnaryMethods::UnaryMethods;

  template <typename Request>
  grpc::ServerWriteReactor<ByteBuffer>* Stream(const Method& method, Context* context,
                                               const ByteBuffer* in,
                                               void (Api::*body)(Api::CallPtr, Request,
                                                                 std::shared_ptr<EventFeed>)) {
    auto* stream = new EventCall(*context, api_.engine());
    Request request;
    auto call = Enter(method, *context, *in, request);
    if (!call.ok()) {
      stream->feed()->StartError(call.status());
      return stream;
    }
    stream->Hold(*call);
    (api_.*body)(*std::move(call), std::move(request), stream->feed());
    return stream;
  }
};

template <typename Base>
using RawGenerate = v1::GenerationService::WithRawCallbackMethod_Generate<Base>;
template <typename Base>
using RawCreate = v1::GenerationService::WithRawCallbackMethod_CreateGeneration<Base>;
template <typename Base>
using RawEstimate = v1::GenerationService::WithRawCallbackMethod_EstimateGeneration<Base>;
template <typename Base>
using RawGet = v1::GenerationService::WithRawCallbackMethod_GetGeneration<Base>;
template <typename Base>
using RawList = v1::GenerationService::WithRawCallbackMethod_ListGenerations<Base>;
template <typename Base>
using RawCancel = v1::GenerationService::WithRawCallbackMethod_CancelGeneration<Base>;
template <typename Base>
using RawDelete = v1::GenerationService::WithRawCallbackMethod_DeleteGeneration<Base>;
template <typename Base>
using RawWatch = v1::GenerationService::WithRawCallbackMethod_WatchGeneration<Base>;

class GenerationServiceImpl final
    : public RawGenerate<RawCreate<RawEstimate<
          RawGet<RawList<RawCancel<RawDelete<RawWatch<v1::GenerationService::Service>>>>>>>>,
      private Methods {
 public:
  GenerationServiceImpl(Api& api, CallGate& gate) : Methods(api, gate) {}

  grpc::ServerWriteReactor<ByteBuffer>* Generate(Context* context, const ByteBuffer* in) override {
    return Stream(methods::generation_service::kGenerate, context, in, &Api::Generate);
  }
  grpc::ServerUnaryReactor* CreateGeneration(Context* context, const ByteBuffer* in,
                                             ByteBuffer* out) override {
    return Unary(methods::generation_service::kCreateGeneration, context, in, out,
                 &Api::CreateGeneration);
  }
  grpc::ServerUnaryReactor* EstimateGeneration(Context* context, const ByteBuffer* in,
                                               ByteBuffer* out) override {
    return Unary(methods::generation_service::kEstimateGeneration, context, in, out,
                 &Api::EstimateGeneration);
  }
  grpc::ServerUnaryReactor* GetGeneration(Context* context, const ByteBuffer* in,
                                          ByteBuffer* out) override {
    return Unary(methods::generation_service::kGetGeneration, context, in, out,
                 &Api::GetGeneration);
  }
  grpc::ServerUnaryReactor* ListGenerations(Context* context, const ByteBuffer* in,
                                            ByteBuffer* out) override {
    return Unary(methods::generation_service::kListGenerations, context, in, out,
                 &Api::ListGenerations);
  }
  grpc::ServerUnaryReactor* CancelGeneration(Context* context, const ByteBuffer* in,
                                             ByteBuffer* out) override {
    return Unary(methods::generation_service::kCancelGeneration, context, in, out,
                 &Api::CancelGeneration);
  }
  grpc::ServerUnaryReactor* DeleteGeneration(Context* context, const ByteBuffer* in,
                                             ByteBuffer* out) override {
    return Unary(methods::generation_service::kDeleteGeneration, context, in, out,
                 &Api::DeleteGeneration);
  }
  grpc::ServerWriteReactor<ByteBuffer>* WatchGeneration(Context* context,
                                                        const ByteBuffer* in) override {
    return Stream(methods::generation_service::kWatchGeneration, context, in,
                  &Api::WatchGeneration);
  }
};

class ModelServiceImpl final
    : public v1::ModelService::WithRawCallbackMethod_ListModels<
          v1::ModelService::WithRawCallbackMethod_GetModel<v1::ModelService::Service>>,
      private Methods {
 public:
  ModelServiceImpl(Api& api, CallGate& gate) : Methods(api, gate) {}

  grpc::ServerUnaryReactor* ListModels(Context* context, const ByteBuffer* in,
                                       ByteBuffer* out) override {
    return Unary(methods::model_service::kListModels, context, in, out, &Api::ListModels);
  }
  grpc::ServerUnaryReactor* GetModel(Context* context, const ByteBuffer* in,
                                     ByteBuffer* out) override {
    return Unary(methods::model_service::kGetModel, context, in, out, &Api::GetModel);
  }
};

class ServerAdminServiceImpl final
    : public v1::ServerAdminService::WithRawCallbackMethod_GetServerInfo<
          v1::ServerAdminService::WithRawCallbackMethod_GetStatus<v1::ServerAdminService::Service>>,
      private Methods {
 public:
  ServerAdminServiceImpl(Api& api, CallGate& gate) : Methods(api, gate) {}

  grpc::ServerUnaryReactor* GetServerInfo(Context* context, const ByteBuffer* in,
                                          ByteBuffer* out) override {
    return Unary(methods::server_admin_service::kGetServerInfo, context, in, out,
                 &Api::GetServerInfo);
  }
  grpc::ServerUnaryReactor* GetStatus(Context* context, const ByteBuffer* in,
                                      ByteBuffer* out) override {
    return Unary(methods::server_admin_service::kGetStatus, context, in, out, &Api::GetStatus);
  }
};

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeGrpcServices(Api& api, CallGate& gate) {
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(std::make_unique<GenerationServiceImpl>(api, gate));
  services.push_back(std::make_unique<ModelServiceImpl>(api, gate));
  return services;
}

std::unique_ptr<grpc::Service> MakeServerAdminService(Api& api, CallGate& gate) {
  return std::make_unique<ServerAdminServiceImpl>(api, gate);
}

}  // namespace darkroom
