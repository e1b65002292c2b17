#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gateway/call.h"
#include "gateway/limits.h"

namespace darkroom {

// Where every call enters: decides whose it is and whether there is room for it. Thread-safe; must
// outlive its calls.
class CallGate {
 public:
  explicit CallGate(int calls_max) : calls_max_(calls_max), open_(calls_max) {}

  // RESOURCE_EXHAUSTED (CALLS_TOO_MANY) with a retry time.
  absl::StatusOr<std::shared_ptr<Call>> Enter() {
    auto permit = open_.TryTake(1);
    if (!permit) {
      return absl::Status(Error(absl::StatusCode::kResourceExhausted, "CALLS_TOO_MANY",
                                absl::StrCat("the server has its limit of ", calls_max_,
                                             " calls open, streams included; try again shortly"))
                              .Quota("open_calls", absl::StrCat("at most ", calls_max_, " at once"))
                              .RetryAfter(absl::Milliseconds(gateway_limits::kRetryBusyMs)));
    }
    auto call = std::make_shared<Call>();
    // Loopback without keys: everybody who reaches the server is its one local tenant.
    call->tenant = "local";
    call->open = *std::move(permit);
    return call;
  }

  int64_t open_calls() const { return open_.taken(); }
  void AwaitNoneOpen() { open_.AwaitNoneTaken(); }

 private:
  const int calls_max_;
  Budget open_;
};

}  // namespace darkroom
