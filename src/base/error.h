#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/rpc/status.pb.h"

namespace darkroom {

// A status whose payloads are google.rpc error details. Every error that can reach a client is made
// here, so that each has a stable reason and none has a path or address.
//
//   return Error(absl::StatusCode::kInvalidArgument, "STEPS_OUT_OF_RANGE", "steps is 0 ...")
//       .Field("sampling.steps", "must be 1 to 1000; nearest: 1");
class Error {
 public:
  // `reason`: UPPER_SNAKE_CASE, stable. `message`: what was wrong, the allowed range, the nearest
  // valid value.
  Error(absl::StatusCode code, std::string_view reason, std::string_view message);

  // Adds a google.rpc.BadRequest violation; `field` is the path from the request's root.
  Error& Field(std::string_view field, std::string_view description);
  // Adds google.rpc.RetryInfo.
  Error& RetryAfter(absl::Duration delay);
  // Adds a google.rpc.QuotaFailure violation.
  Error& Quota(std::string_view subject, std::string_view description);

  operator absl::Status() const { return status_; }  // NOLINT(google-explicit-constructor)

 private:
  absl::Status status_;
};

// The stable reason of an error made by Error; empty for any other status.
std::string ErrorReason(const absl::Status& status);

// absl::Status <-> google.rpc.Status, payloads as details. Used by gRPC, the store and the IPC.
google::rpc::Status ToProto(const absl::Status& status);
absl::Status FromProto(const google::rpc::Status& proto);

}  // namespace darkroom
