#include "main/cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace darkroom::cli {
namespace {

constexpr int kBarWidth = 24;
constexpr absl::Duration kDrawInterval = absl::Milliseconds(100);

std::string Seconds(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1)));
  if (seconds < 60) return absl::StrFormat("%ds", seconds);
  if (seconds < 3600) return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
}

}  // namespace

std::string ProgressLine(int64_t steps_done, int64_t steps_total, double rate, absl::Duration eta) {
  const int64_t total = std::max<int64_t>(steps_total, 1);
  const int64_t done = std::clamp<int64_t>(steps_done, 0, total);
  const int filled = static_cast<int>(done * kBarWidth / total);
  std::string line = absl::StrFormat("[%s%s] %d/%d", std::string(filled, '#'),
                                     std::string(kBarWidth - filled, '-'), done, total);
  if (rate > 0) absl::StrAppendFormat(&line, "  %.1f it/s", rate);
  if (eta > absl::ZeroDuration()) line += "  eta " + Seconds(eta);
  return line;
}

ProgressBar::ProgressBar(bool enabled) : enabled_(enabled && isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() { Clear(); }

void ProgressBar::Show(const std::string& text) {
  last_drawn_ = absl::InfinitePast();
  Draw(text);
}

void ProgressBar::Update(int64_t steps_done, int64_t steps_total, absl::Duration eta) {
  const absl::Time now = absl::Now();
  if (first_update_ == absl::InfinitePast()) {
    first_update_ = now;
    first_steps_ = steps_done;
  }
  const double seconds = absl::ToDoubleSeconds(now - first_update_);
  const double rate = seconds > 0 ? static_cast<double>(steps_done - first_steps_) / seconds : 0;
  if (eta <= absl::ZeroDuration() && rate > 0) {
    eta = absl::Seconds(static_cast<double>(steps_total - steps_done) / rate);
  }
  Draw(ProgressLine(steps_done, steps_total, rate, eta));
}

void ProgressBar::Draw(const std::string& line) {
  const absl::Time now = absl::Now();
  if (!enabled_ || now - last_drawn_ < kDrawInterval) return;
  last_drawn_ = now;
  drawn_ = true;
  // To the line's start, the text, and erase what an earlier, longer one left.
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  std::fflush(stderr);
}

void ProgressBar::Clear() {
  if (!drawn_) return;
  drawn_ = false;
  std::fprintf(stderr, "\r\x1b[K");
  std::fflush(stderr);
}

}  // namespace darkroom::cli
