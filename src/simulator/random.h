#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace darkroom::simulator {

// Random numbers that are the same on every machine: the standard's generators are, its
// distributions are not.
class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}

  // Uniform in [0, 1).
  double Uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }
  // Uniform in [0, n), n >= 1.
  uint64_t Below(uint64_t n) { return bits_() % n; }
  // Of mean `mean`.
  double Exponential(double mean) { return -mean * std::log1p(-Uniform()); }
  // Of mean 0 and deviation 1 (Box and Muller, 1958).
  double Normal() {
    const double radius = std::sqrt(-2.0 * std::log1p(-Uniform()));
    return radius * std::cos(2.0 * 3.14159265358979323846 * Uniform());
  }
  bool Chance(double probability) { return Uniform() < probability; }

 private:
  std::mt19937_64 bits_;
};

}  // namespace darkroom::simulator
