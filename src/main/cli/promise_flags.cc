#include "main/cli/promise_flags.h"

#include "absl/strings/str_cat.h"
#include "base/wall_time.h"
#include "main/cli/output.h"
#include "main/cli/sampling_flags.h"

namespace darkroom::cli {
namespace {

constexpr double kDeadlineSecondsMax = 365.0 * 24 * 3600;

}  // namespace

void AddPromiseOptions(CLI::App* command, const std::shared_ptr<PromiseFlags>& flags) {
  command->add_option("--deadline", flags->deadline_seconds,
                      "Seconds from now in which it should be done (default: by its class)");
  command->add_option("--class", flags->service_class,
                      "guaranteed, target or best-effort (default: the tenant's)");
}

absl::Status FillPromise(const PromiseFlags& flags, absl::Time now, v1::GenerateRequest& request) {
  if (flags.service_class == "guaranteed") {
    request.set_service_class(v1::SERVICE_CLASS_GUARANTEED);
  } else if (flags.service_class == "target") {
    request.set_service_class(v1::SERVICE_CLASS_TARGET);
  } else if (flags.service_class == "best-effort") {
    request.set_service_class(v1::SERVICE_CLASS_BEST_EFFORT);
  } else if (!flags.service_class.empty()) {
    return UsageError(absl::StrCat("--class is \"", Printable(flags.service_class, 40),
                                   "\"; must be guaranteed, target or best-effort"));
  }
  if (!flags.deadline_seconds) return absl::OkStatus();
  const double seconds = *flags.deadline_seconds;
  // Written so that NaN fails.
  if (!(seconds > 0 && seconds <= kDeadlineSecondsMax)) {
    return UsageError(absl::StrCat("--deadline is ", seconds,
                                   "; must be above 0 and at most a year, ",
                                   static_cast<int64_t>(kDeadlineSecondsMax)));
  }
  *request.mutable_deadline() = ToTimestamp(now + absl::Seconds(seconds));
  return absl::OkStatus();
}

}  // namespace darkroom::cli
