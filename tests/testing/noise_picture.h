#pragma once

#include <cstdint>
#include <random>

#include "evaluation/rgb_picture.h"

namespace darkroom::testing {

// Every byte random.
inline RgbPicture NoisePicture(int size, uint32_t seed) {
  std::mt19937 generator(seed);
  RgbPicture picture{size, size, {}};
  for (int i = 0; i < 3 * size * size; ++i) {
    picture.rgb.push_back(static_cast<uint8_t>(generator() >> 24));
  }
  return picture;
}

}  // namespace darkroom::testing
