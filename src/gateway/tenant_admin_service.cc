#include "gateway/tenant_admin_service.h"

#include "darkroom/v1/tenant.grpc.pb.h"
#include "gateway/methods.h"
#include "gateway/unary_methods.h"

namespace darkroom {
namespace {

using grpc::ByteBuffer;
using Context = grpc::CallbackServerContext;
using Service = v1::TenantAdminService;
namespace names = methods::tenant_admin_service;

using RawTenants =
    Service::WithRawCallbackMethod_CreateTenant<Service::WithRawCallbackMethod_GetTenant<
        Service::WithRawCallbackMethod_ListTenants<Service::WithRawCallbackMethod_UpdateTenant<
            Service::WithRawCallbackMethod_DeleteTenant<Service::Service>>>>>;
using RawKeys =
    Service::WithRawCallbackMethod_CreateApiKey<Service::WithRawCallbackMethod_GetApiKey<
        Service::WithRawCallbackMethod_ListApiKeys<Service::WithRawCallbackMethod_RotateApiKey<
            Service::WithRawCallbackMethod_RevokeApiKey<RawTenants>>>>>;

class TenantAdminServiceImpl final : public RawKeys,
                                     private UnaryMethods<TenantApi>,
                                     private UnaryMethods<KeyApi> {
 public:
  TenantAdminServiceImpl(TenantApi& tenants, KeyApi& keys, CallGate& gate)
      : UnaryMethods<TenantApi>(tenants, gate), UnaryMethods<KeyApi>(keys, gate) {}

  grpc::ServerUnaryReactor* CreateTenant(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return UnaryMethods<TenantApi>::Unary(names::kCreateTenant, context, in, out,
                                          &TenantApi::CreateTenant);
  }
  grpc::ServerUnaryReactor* GetTenant(Context* context, const ByteBuffer* in,
                                      ByteBuffer* out) override {
    return UnaryMethods<TenantApi>::Unary(names::kGetTenant, context, in, out,
                                          &TenantApi::GetTenant);
  }
  grpc::ServerUnaryReactor* ListTenants(Context* context, const ByteBuffer* in,
                                        ByteBuffer* out) override {
    return UnaryMethods<TenantApi>::Unary(names::kListTenants, context, in, out,
                                          &TenantApi::ListTenants);
  }
  grpc::ServerUnaryReactor* UpdateTenant(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return UnaryMethods<TenantApi>::Unary(names::kUpdateTenant, context, in, out,
                                          &TenantApi::UpdateTenant);
  }
  grpc::ServerUnaryReactor* DeleteTenant(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return UnaryMethods<TenantApi>::Unary(names::kDeleteTenant, context, in, out,
                                          &TenantApi::DeleteTenant);
  }
  grpc::ServerUnaryReactor* CreateApiKey(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return UnaryMethods<KeyApi>::Unary(names::kCreateApiKey, context, in, out,
                                       &KeyApi::CreateApiKey);
  }
  grpc::ServerUnaryReactor* GetApiKey(Context* context, const ByteBuffer* in,
                                      ByteBuffer* out) override {
    return UnaryMethods<KeyApi>::Unary(names::kGetApiKey, context, in, out, &KeyApi::GetApiKey);
  }
  grpc::ServerUnaryReactor* ListApiKeys(Context* context, const ByteBuffer* in,
                                        ByteBuffer* out) override {
    return UnaryMethods<KeyApi>::Unary(names::kListApiKeys, context, in, out, &KeyApi::ListApiKeys);
  }
  grpc::ServerUnaryReactor* RotateApiKey(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return UnaryMethods<KeyApi>::Unary(names::kRotateApiKey, context, in, out,
                                       &KeyApi::RotateApiKey);
  }
  grpc::ServerUnaryReactor* RevokeApiKey(Context* context, const ByteBuffer* in,
                                         ByteBuffer* out) override {
    return UnaryMethods<KeyApi>::Unary(names::kRevokeApiKey, context, in, out,
                                       &KeyApi::RevokeApiKey);
  }
};

}  // namespace

std::unique_ptr<grpc::Service> MakeTenantAdminService(TenantApi& tenants, KeyApi& keys,
                                                      CallGate& gate) {
  return std::make_unique<TenantAdminServiceImpl>(tenants, keys, gate);
}

}  // namespace darkroom
