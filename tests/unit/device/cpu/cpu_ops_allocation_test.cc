#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>

#include "device/cpu/workspace.h"
#include "unit/device/cpu/ops_fixture.h"

// Counts what this binary and the libraries it loads ask of the heap through C++.
namespace {
std::atomic<int64_t> allocations{0};

void* CountedAllocation(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Kept whole, so that no compiler compares one half of a pair with the other's replacement.
[[gnu::noinline]] void Free(void* memory) noexcept { std::free(memory); }
}  // namespace

void* operator new(size_t bytes) { return CountedAllocation(bytes); }
void* operator new[](size_t bytes) { return CountedAllocation(bytes); }
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete[](void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }
void operator delete[](void* memory, size_t) noexcept { Free(memory); }

namespace darkroom {
namespace {

class AllocationTest : public OpsTest {};

TEST(WorkspaceTest, GrowsOnceAndThenStays) {
  cpu::Workspace workspace(2);
  ASSERT_TRUE(workspace.Reserve(1000, 500).ok());
  const void* own = workspace.thread<char>(1);
  const void* shared = workspace.shared<char>();
  EXPECT_NE(own, workspace.thread<char>(0));
  const int64_t before = allocations;
  ASSERT_TRUE(workspace.Reserve(1000, 500).ok());
  ASSERT_TRUE(workspace.Reserve(1, 1).ok());
  EXPECT_EQ(workspace.thread<char>(1), own);
  EXPECT_EQ(workspace.shared<char>(), shared);
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(workspace.Reserve(~size_t{0}).code(), absl::StatusCode::kResourceExhausted);
  // A refusal leaves a workspace that can be used.
  ASSERT_TRUE(workspace.Reserve(1000, 500).ok());
}

// f32 only: oneDNN itself makes small maps for every primitive that it runs.
TEST_F(AllocationTest, OpsDoNotAllocateAfterWarmUp) {
  OwnedBatch batch({100, 300});
  constexpr int64_t kDim = 64;
  OwnedTensor weight(DType::kF32, {3 * kDim, kDim});
  weight.Fill(random_);
  auto linear = ops().PackLinear(*weight, Tensor(), DType::kF32);
  ASSERT_TRUE(linear.ok());
  OwnedTensor x(DType::kF32, {400, kDim});
  x.Fill(random_);
  OwnedTensor normed(DType::kF32, {400, kDim});
  OwnedTensor qkv(DType::kF32, {400, 3 * kDim});
  OwnedTensor attended(DType::kF32, {400, 1, kDim});
  const LinearArgs linear_args{.x = *normed, .weight = linear->get(), .out = *qkv};
  LayerNormModulateArgs norm_args;
  norm_args.x = *x;
  norm_args.out = *normed;
  AttentionArgs attention_args;
  attention_args.q = attention_args.k = attention_args.v =
      Tensor(qkv->data, DType::kF32, {400, 1, kDim});
  attention_args.row_stride = 3 * kDim;
  attention_args.out = *attended;
  GroupNormArgs group_args;
  group_args.x = Tensor(x->data, DType::kF32, {20, 20, kDim});
  group_args.gamma = group_args.beta = Tensor(weight->data, DType::kF32, {kDim});
  group_args.out = Tensor(normed->data, DType::kF32, {20, 20, kDim});
  const auto run = [&] {
    return ops().LayerNormModulate(norm_args, *batch, *stream_).ok() &&
           ops().Linear(linear_args, *batch, *stream_).ok() &&
           ops().Attention(attention_args, *batch, *stream_).ok() &&
           ops().GroupNorm(group_args, *stream_).ok() &&
           ops().Add(*x, *x, *normed, *stream_).ok() && ops().Silu(*x, *normed, *stream_).ok();
  };
  ASSERT_TRUE(run());
  const int64_t before = allocations;
  ASSERT_TRUE(run());
  EXPECT_EQ(allocations, before);
}

}  // namespace
}  // namespace darkroom
