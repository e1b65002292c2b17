#pragma once

#include "absl/status/statusor.h"
#include "evaluation/rgb_picture.h"

namespace darkroom {

// How far a picture is from its reference, on the numbers 0 to 255 as they stand in the file (sRGB,
// not linear light). Both are INVALID_ARGUMENT (PICTURE_SIZES_DIFFER) for pictures of two sizes.

// Peak signal-to-noise ratio in decibels over all pixels and channels together:
// 10 log10(255^2 / mean squared difference). Infinite for equal pictures.
absl::StatusOr<double> Psnr(const RgbPicture& picture, const RgbPicture& reference);

// Structural similarity, at most 1, which only equal pictures have. Wang, Bovik, Sheikh,
// Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP
// 2004, equation 13: 11x11 Gaussian windows (sigma 1.5), K1 = 0.01, K2 = 0.03, L = 255. Each of
// red, green and blue by itself, so that a wrong hue of the right brightness counts, and only
// windows that lie within the picture; the mean over windows, then over channels. INVALID_ARGUMENT
// (PICTURE_TOO_SMALL) below 11 pixels a side.
absl::StatusOr<double> Ssim(const RgbPicture& picture, const RgbPicture& reference);

}  // namespace darkroom
