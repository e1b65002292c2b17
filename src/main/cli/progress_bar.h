#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace darkroom::cli {

// One line on a terminal's standard error that is drawn over itself; silent when that is no
// terminal. At most ten drawings a second.
class ProgressBar {
 public:
  // `enabled` false: silent.
  explicit ProgressBar(bool enabled);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // A state without progress: "queued, 3 before it".
  void Show(const std::string& text);
  // `eta`: as the server predicts; zero when unknown.
  void Update(int64_t steps_done, int64_t steps_total, absl::Duration eta);
  // Clears the line, so that other output can follow.
  void Clear();

 private:
  void Draw(const std::string& line);

  const bool enabled_;
  bool drawn_ = false;
  absl::Time last_drawn_ = absl::InfinitePast();
  // The first update, from which the rate is measured: waiting in the queue is no step.
  absl::Time first_update_ = absl::InfinitePast();
  int64_t first_steps_ = 0;
};

// "[########------------]  12/30  3.2 it/s  eta 6s"; `rate` in steps a second, 0 when unknown.
std::string ProgressLine(int64_t steps_done, int64_t steps_total, double rate, absl::Duration eta);

}  // namespace darkroom::cli
