#include "model/samplers/sampler.h"

#include "gtest/gtest.h"
#include "model/samplers/flow_match.h"

namespace darkroom {
namespace {

TEST(SamplerTest, IsFoundByNameTheFirstWithoutOne) {
  Samplers samplers;
  EXPECT_EQ(FindSampler(samplers, ""), nullptr);
  samplers.push_back(std::make_unique<FlowMatchEulerSampler>(FlowMatchConfig{}));
  samplers.push_back(std::make_unique<FlowMatchHeunSampler>(FlowMatchConfig{}));
  EXPECT_EQ(FindSampler(samplers, ""), samplers[0].get());
  EXPECT_EQ(FindSampler(samplers, "flow_match_heun"), samplers[1].get());
  EXPECT_EQ(FindSampler(samplers, "flow_match_euler"), samplers[0].get());
  EXPECT_EQ(FindSampler(samplers, "Flow_match_euler"), nullptr);
  EXPECT_EQ(FindSampler(samplers, "flow"), nullptr);
}

}  // namespace
}  // namespace darkroom
