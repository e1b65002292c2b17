#include "evaluation/picture_metrics.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {
namespace {

constexpr int kWindow = 11;
constexpr double kSigma = 1.5;
constexpr double kPeak = 255.0;
constexpr double kC1 = (0.01 * kPeak) * (0.01 * kPeak);
constexpr double kC2 = (0.03 * kPeak) * (0.03 * kPeak);

absl::Status CheckSizes(const RgbPicture& picture, const RgbPicture& reference) {
  if (picture.width == reference.width && picture.height == reference.height) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kInvalidArgument, "PICTURE_SIZES_DIFFER",
      absl::StrCat("a picture of ", picture.width, "x", picture.height,
                   " cannot be compared with one of ", reference.width, "x", reference.height));
}

std::array<double, kWindow> GaussianWindow() {
  std::array<double, kWindow> weights{};
  double sum = 0;
  for (int i = 0; i < kWindow; ++i) {
    const double distance = i - kWindow / 2;
    weights[i] = std::exp(-distance * distance / (2 * kSigma * kSigma));
    sum += weights[i];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

// A plane of numbers, and its means under the window at every place where that lies within it.
struct Plane {
  int width = 0;
  int height = 0;
  std::vector<double> values;
};

Plane Blur(const Plane& in) {
  static const std::array<double, kWindow> weights = GaussianWindow();
  Plane rows{in.width - kWindow + 1, in.height, {}};
  rows.values.assign(size_t(rows.width) * rows.height, 0.0);
  for (int y = 0; y < rows.height; ++y) {
    for (int x = 0; x < rows.width; ++x) {
      double sum = 0;
      for (int i = 0; i < kWindow; ++i) sum += weights[i] * in.values[size_t(y) * in.width + x + i];
      rows.values[size_t(y) * rows.width + x] = sum;
    }
  }
  Plane out{rows.width, in.height - kWindow + 1, {}};
  out.values.assign(size_t(out.width) * out.height, 0.0);
  for (int y = 0; y < out.height; ++y) {
    for (int i = 0; i < kWindow; ++i) {
      for (int x = 0; x < out.width; ++x) {
        out.values[size_t(y) * out.width + x] +=
            weights[i] * rows.values[size_t(y + i) * rows.width + x];
      }
    }
  }
  return out;
}

Plane Channel(const RgbPicture& picture, int channel) {
  Plane plane{picture.width, picture.height, {}};
  plane.values.resize(size_t(picture.width) * picture.height);
  for (size_t i = 0; i < plane.values.size(); ++i) plane.values[i] = picture.rgb[3 * i + channel];
  return plane;
}

Plane Product(const Plane& a, const Plane& b) {
  Plane plane{a.width, a.height, a.values};
  for (size_t i = 0; i < plane.values.size(); ++i) plane.values[i] *= b.values[i];
  return plane;
}

double ChannelSsim(const Plane& x, const Plane& y) {
  const Plane mean_x = Blur(x);
  const Plane mean_y = Blur(y);
  const Plane square_x = Blur(Product(x, x));
  const Plane square_y = Blur(Product(y, y));
  const Plane product = Blur(Product(x, y));
  double sum = 0;
  for (size_t i = 0; i < mean_x.values.size(); ++i) {
    const double mx = mean_x.values[i];
    const double my = mean_y.values[i];
    const double variance_x = square_x.values[i] - mx * mx;
    const double variance_y = square_y.values[i] - my * my;
    const double covariance = product.values[i] - mx * my;
    sum += (2 * mx * my + kC1) * (2 * covariance + kC2) /
           ((mx * mx + my * my + kC1) * (variance_x + variance_y + kC2));
  }
  return sum / static_cast<double>(mean_x.values.size());
}

}  // namespace

absl::StatusOr<double> Psnr(const RgbPicture& picture, const RgbPicture& reference) {
  if (absl::Status status = CheckSizes(picture, reference); !status.ok()) return status;
  uint64_t squares = 0;
  for (size_t i = 0; i < picture.rgb.size(); ++i) {
    const int difference = int{picture.rgb[i]} - int{reference.rgb[i]};
    squares += static_cast<uint64_t>(difference * difference);
  }
  if (squares == 0) return std::numeric_limits<double>::infinity();
  const double mean = static_cast<double>(squares) / static_cast<double>(picture.rgb.size());
  return 10.0 * std::log10(kPeak * kPeak / mean);
}

absl::StatusOr<double> Ssim(const RgbPicture& picture, const RgbPicture& reference) {
  if (absl::Status status = CheckSizes(picture, reference); !status.ok()) return status;
  if (picture.width < kWindow || picture.height < kWindow) {
    return Error(absl::StatusCode::kInvalidArgument, "PICTURE_TOO_SMALL",
                 absl::StrCat("structural similarity needs ", kWindow, "x", kWindow,
                              " pixels; the picture is ", picture.width, "x", picture.height));
  }
  double sum = 0;
  for (int channel = 0; channel < 3; ++channel) {
    sum += ChannelSsim(Channel(picture, channel), Channel(reference, channel));
  }
  return sum / 3;
}

}  // namespace darkroom
