#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "gateway/call_gate.h"
#include "gateway/grpc_reply.h"
#include "gateway/method.h"
#include "gateway/unary_call.h"

namespace darkroom {

// What the methods of all services do with a call; each service adds names only. The methods are
// registered raw, so that a malformed message is answered like any other error.
//
// `Api`: has a member `void(std::shared_ptr<Call>, Request, Callback<absl::StatusOr<Response>>)`
// for each unary method.
template <typename Api>
class UnaryMethods {
 protected:
  // Both must outlive the service.
  UnaryMethods(Api& api, CallGate& gate) : api_(api), gate_(gate) {}

  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Unary(const Method& method, grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* in, grpc::ByteBuffer* out,
                                  void (Api::*body)(std::shared_ptr<Call>, Request,
                                                    Callback<absl::StatusOr<Response>>)) {
    auto* unary = new UnaryCall(*context, *out);
    Request request;
    auto call = Enter(method, *context, *in, request);
    if (!call.ok()) {
      unary->Reply(absl::StatusOr<Response>(call.status()));
      return unary;
    }
    unary->Hold(*call);
    (api_.*body)(*std::move(call), std::move(request),
                 [unary](absl::StatusOr<Response> response) { unary->Reply(response); });
    return unary;
  }

  // The caller and its request, or why not.
  absl::StatusOr<std::shared_ptr<Call>> Enter(const Method& method,
                                              const grpc::CallbackServerContext& context,
                                              const grpc::ByteBuffer& in,
                                              google::protobuf::MessageLite& request) {
    auto call = gate_.Enter(method, CredentialsOf(context));
    if (!call.ok()) return call;
    if (absl::Status status = ParseMessage(in, request); !status.ok()) return status;
    return call;
  }

  Api& api_;
  CallGate& gate_;
};

}  // namespace darkroom
