#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "darkroom/principal.h"
#include "gateway/call.h"
#include "gateway/method.h"

namespace darkroom {

// Where every call enters: decides who makes it, whether it may, and whether there is room for it.
// Thread-safe; must outlive its calls.
class CallGate {
 public:
  // `authenticator` must outlive the gate.
  CallGate(int calls_max, const Authenticator& authenticator)
      : calls_max_(calls_max), authenticator_(authenticator), open_(calls_max) {}

  // RESOURCE_EXHAUSTED (CALLS_TOO_MANY) with a retry time; the authenticator's errors;
  // PERMISSION_DENIED (ROLE_NOT_ALLOWED).
  absl::StatusOr<std::shared_ptr<Call>> Enter(const Method& method, const Credentials& credentials);

  int64_t open_calls() const { return open_.taken(); }
  void AwaitNoneOpen() { open_.AwaitNoneTaken(); }

 private:
  const int calls_max_;
  const Authenticator& authenticator_;
  Budget open_;
};

}  // namespace darkroom
