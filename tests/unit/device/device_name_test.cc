#include "device/device_name.h"

#include <string>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(DeviceNameTest, NamesTheProcessorAndGpus) {
  ASSERT_TRUE(ParseDeviceName("cpu").ok());
  EXPECT_EQ(ParseDeviceName("cpu")->kind, DeviceName::Kind::kCpu);
  for (const int index : {0, 7, 63}) {
    const auto name = ParseDeviceName("cuda:" + std::to_string(index));
    ASSERT_TRUE(name.ok()) << name.status();
    EXPECT_EQ(name->kind, DeviceName::Kind::kCuda);
    EXPECT_EQ(name->index, index);
  }
}

TEST(DeviceNameTest, RefusesTheRestAndSaysWhatIsAllowed) {
  for (const std::string text : {"", "gpu", "CPU", "cuda", "cuda:", "cuda:64", "cuda:-1", "cuda:+1",
                                 "cuda: 1", "cuda:1x", "cuda:99999999999999999999", "cpu:0"}) {
    const auto name = ParseDeviceName(text);
    EXPECT_EQ(ErrorReason(name.status()), "INVALID_DEVICE") << text;
    EXPECT_THAT(std::string(name.status().message()), ::testing::HasSubstr("\"cuda:63\""));
  }
  EXPECT_LT(ParseDeviceName(std::string(1 << 20, 'x')).status().message().size(), 200u);
}

}  // namespace
}  // namespace darkroom
