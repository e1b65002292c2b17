#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "gateway/call.h"
#include "gateway/grpc_reply.h"
#include "grpcpp/grpcpp.h"

namespace darkroom {

// One unary call of any service. Lives until gRPC is done with it, and deletes itself.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // Both are gRPC's, and live as long as the call.
  UnaryCall(grpc::CallbackServerContext& context, grpc::ByteBuffer& out)
      : context_(context), out_(out) {}

  // Keeps what the call takes of the gateway's bounds until it has ended.
  void Hold(std::shared_ptr<Call> call) { call_ = std::move(call); }

  // Once.
  template <typename Response>
  void Reply(const absl::StatusOr<Response>& response) {
    if (response.ok()) out_ = SerializeMessage(*response);
    Finish(EndStatus(response.status(), context_));
  }

  void OnDone() override { delete this; }

 private:
  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer& out_;
  std::shared_ptr<Call> call_;
};

}  // namespace darkroom
