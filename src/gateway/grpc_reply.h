#pragma once

#include "absl/status/status.h"
#include "darkroom/principal.h"
#include "google/protobuf/message_lite.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"

namespace darkroom {

// What the call's metadata and its connection's certificate say about who makes it.
Credentials CredentialsOf(const grpc::CallbackServerContext& context);

// `status` as gRPC ends a call with it: what ForClient leaves of it, with its details in
// grpc-status-details-bin, and grpc-retry-pushback-ms when it has a retry time.
grpc::Status EndStatus(const absl::Status& status, grpc::CallbackServerContext& context);

// INVALID_ARGUMENT (MESSAGE_MALFORMED) when the bytes are no such message or a string in it is not
// UTF-8. The generated code would end such calls with UNIMPLEMENTED and not a word.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message);

}  // namespace darkroom
