#include "device/cpu/cpu_ops.h"

#include <omp.h>
#include <xmmintrin.h>

#include <cstdlib>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "device/limits.h"
#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

class CpuOpsTest : public OpsTest {};

TEST_F(CpuOpsTest, SaysWhatDecidesBits) {
  EXPECT_EQ(ops().DeviceName(), "cpu " + ops().Isa() + ", 2 threads");
  EXPECT_THAT(ops().Libraries(), ::testing::ContainsRegex("onednn [0-9.]+, glibc [0-9.]+"));
  EXPECT_TRUE(ops().Supports(DType::kF32));
  EXPECT_TRUE(ops().Supports(DType::kBf16));
  EXPECT_FALSE(ops().Supports(DType::kF16));
}

// Without this the runs as a lesser machine would prove nothing.
TEST_F(CpuOpsTest, ObeysTheCapOnInstructionSets) {
  const char* cap = std::getenv("DNNL_MAX_CPU_ISA");
  if (cap == nullptr) GTEST_SKIP() << "DNNL_MAX_CPU_ISA is not set";
  const std::string isa = ops().Isa();
  const auto at_most = [&](std::initializer_list<const char*> allowed) {
    EXPECT_THAT(std::vector<std::string>(allowed.begin(), allowed.end()), ::testing::Contains(isa));
  };
  if (std::string(cap) == "SSE41") at_most({"sse41"});
  if (std::string(cap) == "AVX2") at_most({"sse41", "avx", "avx2"});
  if (std::string(cap) == "AVX512_CORE") at_most({"sse41", "avx", "avx2", "avx512_core"});
}

TEST_F(CpuOpsTest, ClampsTheNumberOfThreads) {
  EXPECT_EQ(CreateCpuOps(0)->DeviceName(), "cpu " + ops().Isa() + ", 1 threads");
  EXPECT_EQ(CreateCpuOps(-7)->DeviceName(), "cpu " + ops().Isa() + ", 1 threads");
}

TEST_F(CpuOpsTest, AllocatesZeroedAlignedMemory) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{1000000}}) {
    auto buffer = ops().Allocate(bytes);
    ASSERT_TRUE(buffer.ok());
    ASSERT_NE((*buffer)->data(), nullptr);
    EXPECT_EQ((*buffer)->size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % 64, 0u);
    const char* begin = static_cast<const char*>((*buffer)->data());
    EXPECT_TRUE(std::all_of(begin, begin + bytes, [](char c) { return c == 0; }));
  }
}

TEST_F(CpuOpsTest, RefusesMemoryThatIsNotThere) {
  for (const size_t bytes : {~size_t{0}, kBufferBytesMax + 1}) {
    const absl::Status status = ops().Allocate(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ErrorReason(status), "DEVICE_MEMORY_EXHAUSTED");
  }
}

TEST_F(CpuOpsTest, CopiesBothWays) {
  std::vector<int> host(100);
  std::iota(host.begin(), host.end(), 0);
  auto buffer = ops().Allocate(400);
  ASSERT_TRUE(buffer.ok());
  ASSERT_TRUE(ops().CopyToDevice((*buffer)->data(), host.data(), 400, *stream_).ok());
  std::vector<int> back(100);
  ASSERT_TRUE(ops().CopyToHost(back.data(), (*buffer)->data(), 400, *stream_).ok());
  EXPECT_EQ(back, host);
  auto other = ops().Allocate(400);
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE(ops().CopyOnDevice((*other)->data(), (*buffer)->data(), 400, *stream_).ok());
  back.assign(100, 0);
  ASSERT_TRUE(ops().CopyToHost(back.data(), (*other)->data(), 400, *stream_).ok());
  EXPECT_EQ(back, host);
  EXPECT_TRUE(stream_->Synchronize().ok());
  EXPECT_FALSE(ops().CopyOnDevice((*other)->data(), nullptr, 4, *stream_).ok());
  EXPECT_FALSE(ops().CopyToHost(back.data(), nullptr, 4, *stream_).ok());
  EXPECT_TRUE(ops().CopyToHost(nullptr, nullptr, 0, *stream_).ok());
}

// Some other library's -ffast-math, or a caller's rounding mode, must not reach a result.
TEST_F(CpuOpsTest, BitsDoNotDependOnTheCallersFloatingPointMode) {
  OwnedTensor x(DType::kF32, {5000});
  x.Fill(random_, 1e-38f);
  OwnedTensor y(DType::kF32, {5000});
  y.Fill(random_, 1e-38f);
  for (const int threads : {1, 2}) {
    OwnedTensor expected(DType::kF32, {5000});
    ASSERT_TRUE(OpsWith(threads).Add(*x, *y, *expected, *stream_).ok());
    OwnedTensor out(DType::kF32, {5000});
    const unsigned before = _mm_getcsr();
    // Denormals are zero and flushed to zero, rounding towards zero.
    _mm_setcsr(before | 0x8040 | _MM_ROUND_TOWARD_ZERO);
    const absl::Status status = OpsWith(threads).Add(*x, *y, *out, *stream_);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    ASSERT_TRUE(status.ok());
    EXPECT_EQ(after & ~0x3fu, (before | 0x8040 | _MM_ROUND_TOWARD_ZERO) & ~0x3fu);
    EXPECT_EQ(out.Rows(0, 5000), expected.Rows(0, 5000));
  }
}

TEST_F(CpuOpsTest, LeavesTheCallersOpenMpAlone) {
  omp_set_num_threads(3);
  for (const DType compute : ComputeTypes()) {
    OwnedTensor weight(compute, {32, 32});
    weight.Fill(random_);
    auto packed = ops().PackLinear(*weight, Tensor(), compute);
    ASSERT_TRUE(packed.ok());
    OwnedBatch batch({4});
    OwnedTensor x(DType::kF32, {4, 32});
    x.Fill(random_);
    OwnedTensor out(DType::kF32, {4, 32});
    ASSERT_TRUE(
        ops().Linear({.x = *x, .weight = packed->get(), .out = *out}, *batch, *stream_).ok());
  }
  EXPECT_EQ(omp_get_max_threads(), 3);
}

}  // namespace
}  // namespace darkroom
