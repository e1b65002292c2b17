#include "golden/flux_pipeline_golden.h"

#include <memory>

#include "device/cpu/cpu_ops.h"
#include "testing/reference_ops.h"

namespace darkroom::golden {
namespace {

const Backend kReference = {
    "reference", [] { return std::unique_ptr<Ops>(std::make_unique<testing::ReferenceOps>()); }};
const Backend kCpu = {"cpu", [] { return CreateCpuOps(2); }};

INSTANTIATE_TEST_SUITE_P(Fixtures, FluxPipelineGoldenTest,
                         ::testing::Combine(::testing::Values("dev", "schnell", "sharded"),
                                            ::testing::Values(&kReference, &kCpu)),
                         NameOf);
// The model that ships.
INSTANTIATE_TEST_SUITE_P(Shipped, FluxPipelineGoldenTest,
                         ::testing::Combine(::testing::Values("shipped"), ::testing::Values(&kCpu)),
                         NameOf);

}  // namespace
}  // namespace darkroom::golden
