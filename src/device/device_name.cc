#include "device/device_name.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "device/limits.h"

namespace darkroom {

absl::StatusOr<DeviceName> ParseDeviceName(const std::string& text) {
  const std::string kCuda = "cuda:";
  if (text == "cpu") return DeviceName{};
  DeviceName name{.kind = DeviceName::Kind::kCuda, .index = 0};
  const bool digits = absl::StartsWith(text, kCuda) &&
                      text.find_first_not_of("0123456789", kCuda.size()) == text.npos;
  if (digits && absl::SimpleAtoi(text.substr(kCuda.size()), &name.index) &&
      name.index < kCudaDevicesMax) {
    return name;
  }
  return Error(
      absl::StatusCode::kInvalidArgument, "INVALID_DEVICE",
      absl::StrCat("device is \"", text.substr(0, kDeviceNameShownMax),
                   "\"; it must be \"cpu\" or \"cuda:0\" to \"cuda:", kCudaDevicesMax - 1, "\""));
}

}  // namespace darkroom
