#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace darkroom::scheduler {

// Sums of nanoseconds by size, in buckets an eighth of a power of two wide, so that "how much is
// there of what is at most this long" needs no scan of what there is.
class WorkHistogram {
 public:
  // `nanos`: 0 or more.
  void Add(int64_t nanos) { sums_[Bucket(nanos)] += nanos; }
  // It was added.
  void Remove(int64_t nanos) { sums_[Bucket(nanos)] -= nanos; }
  // Of everything whose bucket is at most that of `nanos`.
  int64_t UpTo(int64_t nanos) const {
    int64_t sum = 0;
    for (size_t i = 0; i <= Bucket(nanos); ++i) sum += sums_[i];
    return sum;
  }
  int64_t Total() const { return UpTo(INT64_MAX); }

 private:
  static constexpr size_t kBuckets = 488;

  static size_t Bucket(int64_t nanos) {
    const auto value = static_cast<uint64_t>(std::max<int64_t>(0, nanos));
    if (value < 8) return value;
    const int exponent = std::bit_width(value) - 1;  // 3 to 62
    return static_cast<size_t>(exponent - 2) * 8 + ((value >> (exponent - 3)) & 7);
  }

  std::array<int64_t, kBuckets> sums_{};
};

}  // namespace darkroom::scheduler
