#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace darkroom::engine {

// Share of the last seconds that a worker spent inside quanta, in buckets of one second.
class BusyMeter {
 public:
  static constexpr int64_t kBucketNs = 1'000'000'000;
  static constexpr int kBuckets = 10;

  // A quantum ran from `start_ns` to `end_ns` on the daemon's monotonic clock.
  void Add(int64_t start_ns, int64_t end_ns) {
    if (first_ns_ == 0) first_ns_ = start_ns;
    start_ns = std::max(start_ns, end_ns - (kBuckets - 1) * kBucketNs);
    while (start_ns < end_ns) {
      const int64_t bucket = start_ns / kBucketNs;
      const int64_t until = std::min(end_ns, (bucket + 1) * kBucketNs);
      Slot(bucket) += until - start_ns;
      start_ns = until;
    }
  }

  double Ratio(int64_t now_ns) const {
    if (first_ns_ == 0) return 0;
    const int64_t newest = now_ns / kBucketNs;
    // The window starts with a whole bucket, so that the oldest is not counted in part.
    const int64_t start = std::max(first_ns_, (newest - kBuckets + 1) * kBucketNs);
    int64_t busy = 0;
    for (int i = 0; i < kBuckets; ++i) {
      if (numbers_[i] > newest - kBuckets && numbers_[i] <= newest) busy += busy_[i];
    }
    const int64_t window = now_ns - start;
    return window <= 0 ? 0 : std::min(1.0, static_cast<double>(busy) / static_cast<double>(window));
  }

 private:
  int64_t& Slot(int64_t bucket) {
    const auto i = static_cast<size_t>(bucket % kBuckets);
    if (numbers_[i] != bucket) {
      numbers_[i] = bucket;
      busy_[i] = 0;
    }
    return busy_[i];
  }

  int64_t first_ns_ = 0;
  std::array<int64_t, kBuckets> numbers_{};
  std::array<int64_t, kBuckets> busy_{};
};

}  // namespace darkroom::engine
