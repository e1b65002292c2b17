#pragma once

#include <cstddef>
#include <cstdint>

namespace darkroom {

// Bounds of the device layer. What exceeds them is refused with INVALID_ARGUMENT at an op's entry,
// so that index arithmetic below cannot overflow and a broken caller cannot ask for absurd scratch.

// Threads of one CPU backend.
inline constexpr int kCpuThreadsMax = 256;
// Rows of a packed batch, pixels of an image.
inline constexpr int64_t kRowsMax = int64_t{1} << 26;
// Features of a row, channels of an image.
inline constexpr int64_t kFeaturesMax = int64_t{1} << 17;
inline constexpr int64_t kHeadsMax = 1024;
inline constexpr int64_t kHeadDimMax = 1024;
inline constexpr int32_t kSequencesMax = 1 << 16;
inline constexpr int32_t kJobsMax = 1 << 16;
inline constexpr int32_t kPatchMax = 64;
inline constexpr int kConvKernelMax = 15;
inline constexpr int kConvStrideMax = 8;
// Parts of one fused weight.
inline constexpr int64_t kLinearPartsMax = 16;
// Low-rank adapters: numbers that ranges can name, the rank in one part of a weight, and adapters
// of one row.
inline constexpr int32_t kAdaptersMax = 256;
inline constexpr int64_t kAdapterRankMax = 256;
inline constexpr int32_t kAdapterLevelsMax = 8;
// One allocation or one workspace.
inline constexpr size_t kBufferBytesMax = size_t{1} << 42;
// Packed weights that processes share lie in memfds: this much in each, or one larger weight alone;
// what is larger still is each process's own. Beyond the count, too.
inline constexpr size_t kWeightSegmentBytes = size_t{256} << 20;
inline constexpr size_t kWeightSegmentBytesMax = size_t{1} << 30;
inline constexpr size_t kWeightSegmentsMax = 250;
// Recorded graphs, and keys that may become some, of one CUDA stream.
inline constexpr size_t kGraphsMax = 32;
// Half of a CUDA stream's staging for copies from the host.
inline constexpr size_t kStagingBytes = size_t{8} << 20;
// oneDNN primitives kept by one backend, one per (in_features, chunk width).
inline constexpr size_t kCpuPrimitivesMax = 4096;
// How long an idle pool thread looks for work before it sleeps.
inline constexpr int kCpuSpinPauses = 2000;

}  // namespace darkroom
