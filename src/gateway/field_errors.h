#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace darkroom {

// Collects what is wrong with a request, so that a client learns all of it from one answer.
class FieldErrors {
 public:
  // `field`: path from the request's root. `problem` and `rule` continue its name:
  //   Add("sampling.steps", "STEPS_OUT_OF_RANGE", "is 0", "must be 1 to 1000; nearest: 1")
  // reads "sampling.steps is 0; must be 1 to 1000; nearest: 1" in the message, and the same without
  // the name in the details. Past the bound on violations only counts.
  void Add(std::string_view field, std::string_view reason, std::string_view problem,
           std::string_view rule);

  bool empty() const { return violations_.empty(); }

  // OK when empty; otherwise INVALID_ARGUMENT with the one violation's reason, or FIELDS_INVALID
  // when there are several.
  absl::Status ToStatus() const;

 private:
  struct Violation {
    std::string field;
    std::string reason;
    std::string description;
  };
  std::vector<Violation> violations_;
  int dropped_ = 0;
};

}  // namespace darkroom
