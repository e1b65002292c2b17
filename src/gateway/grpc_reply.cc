#include "gateway/grpc_reply.h"

#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/tenant_key.h"
#include "gateway/reply_errors.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/rpc/error_details.pb.h"
#include "grpc/grpc_security_constants.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "grpcpp/support/proto_buffer_writer.h"

namespace darkroom {

Credentials CredentialsOf(const grpc::CallbackServerContext& context) {
  Credentials credentials;
  const auto values = [&context](const char* key, std::vector<std::string>& out) {
    const auto [begin, end] = context.client_metadata().equal_range(key);
    for (auto it = begin; it != end; ++it) out.emplace_back(it->second.data(), it->second.size());
  };
  values("authorization", credentials.authorization);
  values(kTenantKey, credentials.tenants);
  const auto connection = context.auth_context();
  if (connection == nullptr || !connection->IsPeerAuthenticated()) return credentials;
  for (const auto& uri : connection->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
    credentials.certificate_uris.emplace_back(uri.data(), uri.size());
  }
  return credentials;
}

grpc::Status EndStatus(const absl::Status& status, grpc::CallbackServerContext& context) {
  const absl::Status told = ForClient(status);
  if (told.ok()) return grpc::Status::OK;
  if (const auto payload = told.GetPayload("type.googleapis.com/google.rpc.RetryInfo")) {
    google::rpc::RetryInfo retry;
    if (retry.ParseFromString(std::string(*payload))) {
      const int64_t delay_ms = retry.retry_delay().seconds() * 1000 +
                               (retry.retry_delay().nanos() + 999'999) / 1'000'000;
      context.AddTrailingMetadata("grpc-retry-pushback-ms", absl::StrCat(delay_ms));
    }
  }
  return grpc::Status(static_cast<grpc::StatusCode>(told.code()), std::string(told.message()),
                      ToProto(told).SerializeAsString());
}

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message) {
  grpc::ByteBuffer copy = bytes;  // of the reference: the reader wants it mutable
  grpc::ProtoBufferReader reader(&copy);
  if (reader.status().ok() && message.ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "MESSAGE_MALFORMED",
               absl::StrCat("the request is not a valid ", message.GetTypeName(),
                            " message; its strings must be UTF-8, and it must not be compressed"));
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  grpc::Slice slice(size);
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace darkroom
