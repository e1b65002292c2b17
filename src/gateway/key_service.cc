#include "gateway/key_service.h"

#include "darkroom/v1/tenant.grpc.pb.h"
#include "gateway/methods.h"
#include "gateway/unary_methods.h"

namespace darkroom {
namespace {

using grpc::ByteBuffer;
using Context = grpc::CallbackServerContext;

template <typename Base>
using RawCreate = v1::TenantAdminService::WithRawCallbackMethod_CreateApiKey<Base>;
template <typename Base>
using RawGet = v1::TenantAdminService::WithRawCallbackMethod_GetApiKey<Base>;
template <typename Base>
using RawList = v1::TenantAdminService::WithRawCallbackMethod_ListApiKeys<Base>;
template <typename Base>
using RawRotate = v1::TenantAdminService::WithRawCallbackMethod_RotateApiKey<Base>;
template <typename Base>
using RawRevoke = v1::TenantAdminService::WithRawCallbackMethod_RevokeApiKey<Base>;

class KeyServiceImpl final
    : public RawCreate<RawGet<RawList<RawRotate<RawRevoke<v1::TenantAdminService::Service>>>>>,
      private UnaryMethods<KeyApi> {
 public:
  KeyServiceImpl(KeyApi& api, CallGate& gate) : UnaryMethods(api, gate) {}

  grpc::ServerUnaryReactor* CreateApiKey(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return Unary(methods::tenant_admin_service::kCreateApiKey, context, in, out,
                 &KeyApi::CreateApiKey);
  }
  grpc::ServerUnaryReactor* GetApiKey(Context* context, const ByteBuffer* in,
                                      ByteBuffer* out) override {
    return Unary(methods::tenant_admin_service::kGetApiKey, context, in, out, &KeyApi::GetApiKey);
  }
  grpc::ServerUnaryReactor* ListApiKeys(Context* context, const ByteBuffer* in,
                                        ByteBuffer* out) override {
    return Unary(methods::tenant_admin_service::kListApiKeys, context, in, out,
                 &KeyApi::ListApiKeys);
  }
  grpc::ServerUnaryReactor* RotateApiKey(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return Unary(methods::tenant_admin_service::kRotateApiKey, context, in, out,
                 &KeyApi::RotateApiKey);
  }
  grpc::ServerUnaryReactor* RevokeApiKey(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return Unary(methods::tenant_admin_service::kRevokeApiKey, context, in, out,
                 &KeyApi::RevokeApiKey);
  }
};

}  // namespace

std::unique_ptr<grpc::Service> MakeKeyService(KeyApi& api, CallGate& gate) {
  return std::make_unique<KeyServiceImpl>(api, gate);
}

}  // namespace darkroom
