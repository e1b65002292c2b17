#include "gateway/field_errors.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gateway/limits.h"
#include "gateway/text.h"

namespace darkroom {

namespace limits = gateway_limits;

void FieldErrors::Add(std::string_view field, std::string_view reason, std::string_view problem,
                      std::string_view rule) {
  if (violations_.size() >= limits::kViolationsMax) {
    ++dropped_;
    return;
  }
  const std::string description = absl::StrCat(std::string(problem), "; ", std::string(rule));
  violations_.push_back({std::string(field), std::string(reason),
                         std::string(Utf8Prefix(description, limits::kViolationBytesMax))});
}

absl::Status FieldErrors::ToStatus() const {
  if (violations_.empty()) return absl::OkStatus();
  std::string message;
  if (violations_.size() > 1) {
    absl::StrAppend(&message, violations_.size() + dropped_, " fields are invalid: ");
  }
  for (size_t i = 0; i < violations_.size(); ++i) {
    const Violation& violation = violations_[i];
    absl::StrAppend(&message, i > 0 ? ". " : "", violation.field, " ", violation.description);
  }
  if (message.size() > limits::kErrorMessageBytesMax) {
    message =
        absl::StrCat(std::string(Utf8Prefix(message, limits::kErrorMessageBytesMax - 3)), "...");
  }
  Error error(absl::StatusCode::kInvalidArgument,
              violations_.size() == 1 ? violations_[0].reason : "FIELDS_INVALID", message);
  for (const Violation& violation : violations_) {
    error.Field(violation.field, violation.description);
  }
  return error;
}

}  // namespace darkroom
