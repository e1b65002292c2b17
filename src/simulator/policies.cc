#include "simulator/policies.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "simulator/policies/fifo_policy.h"
#include "simulator/policies/flashps_policy.h"
#include "simulator/policies/ordered_policy.h"
#include "simulator/policies/tetriserve_policy.h"
#include "simulator/policies/vtc_policy.h"

namespace darkroom::simulator {

std::vector<std::string> PolicyNames() {
  return {"darkroom", "fifo", "edf", "srtf-equal", "srtf", "vtc", "tetriserve", "flashps"};
}

absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(std::string_view name,
                                                   const DarkroomOptions& darkroom, int degree) {
  using Order = OrderedPolicy::Order;
  if (name == "darkroom") return std::make_unique<DarkroomPolicy>(darkroom);
  if (name == "fifo") return std::make_unique<FifoPolicy>(degree);
  if (name == "edf") return std::make_unique<OrderedPolicy>("edf", Order::kDeadline, false, degree);
  if (name == "srtf-equal") {
    return std::make_unique<OrderedPolicy>("srtf-equal", Order::kRemaining, true, degree);
  }
  if (name == "srtf") {
    return std::make_unique<OrderedPolicy>("srtf", Order::kRemaining, false, degree);
  }
  if (name == "vtc") return std::make_unique<VtcPolicy>(degree);
  if (name == "tetriserve") return std::make_unique<TetriServePolicy>();
  if (name == "flashps") return std::make_unique<FlashPsPolicy>();
  return Error(
      absl::StatusCode::kInvalidArgument, "POLICY_UNKNOWN",
      absl::StrCat("no policy of that name; there are ", absl::StrJoin(PolicyNames(), ", ")));
}

}  // namespace darkroom::simulator
