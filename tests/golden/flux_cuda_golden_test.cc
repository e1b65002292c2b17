// The whole of FLUX.1 by the CUDA backend on the kernels' emulator: text encoders, transformer,
// autoencoder, by the kernels that a GPU runs.
#include <memory>

#include "device/cuda/cuda_ops.h"
#include "golden/flux_pipeline_golden.h"

namespace darkroom::golden {
namespace {

const Backend kCuda = {"cuda", [] { return *CreateCudaOps(0); }};

INSTANTIATE_TEST_SUITE_P(Fixtures, FluxPipelineGoldenTest,
                         ::testing::Combine(::testing::Values("schnell"),
                                            ::testing::Values(&kCuda)),
                         NameOf);

}  // namespace
}  // namespace darkroom::golden
