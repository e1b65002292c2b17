#include "kernels/emulator/simt.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/emulator/guarded_memory.h"
#include "kernels/ptx/cp_async.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/mma.h"
#include "kernels/ptx/thread.h"

// The emulator finds what it is there to find: each kernel here is right but for a switch that
// breaks it on purpose.
namespace darkroom::emulator {
namespace {

using ::testing::HasSubstr;
namespace ptx = kernels::ptx;

constexpr int kThreads = 64;

struct Device {
  explicit Device(size_t floats) { cudaMalloc(reinterpret_cast<void**>(&data), floats * 4); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() { cudaFree(data); }
  float* data = nullptr;
};

// Whether out[i] is i for all threads, in each order that threads may take turns in.
template <typename Kernel, typename... Args>
bool AlwaysRight(Kernel kernel, const Args&... args) {
  bool right = true;
  for (const Order order : {Order::kForward, Order::kBackward, Order::kShuffled}) {
    SetOrder(order);
    Device out(kThreads);
    EXPECT_TRUE(ptx::Launch(kernel, {dim3(1), kThreads, 1024}, nullptr, out.data, args...).ok());
    for (int i = 0; i < kThreads; ++i) right = right && out.data[i] == static_cast<float>(i);
  }
  SetOrder(Order::kForward);
  return right;
}

// Through shared memory, backwards and back.
void Reverse(float* out, bool barrier) {
  auto* shared = reinterpret_cast<float*>(ptx::SharedMemory());
  const int i = static_cast<int>(threadIdx.x);
  shared[kThreads - 1 - i] = static_cast<float>(kThreads - 1 - i);
  if (barrier) ptx::SyncBlock();
  out[i] = shared[i];
}

TEST(SimtTest, FindsAMissingBarrier) {
  EXPECT_TRUE(AlwaysRight(Reverse, true));
  EXPECT_FALSE(AlwaysRight(Reverse, false));
}

// Each thread copies 16 bytes of numbers 4 i to 4 i + 3 and takes out what its number is.
template <int kPending, bool kCommit>
void Copy(float* out, const float* in) {
  uint8_t* shared = ptx::SharedMemory();
  const int i = static_cast<int>(threadIdx.x);
  if (i < kThreads / 4) ptx::CopyAsync16(shared + 16 * i, in + 4 * i, true);
  if (kCommit) ptx::CommitCopies();
  ptx::WaitCopies<kPending>();
  ptx::SyncBlock();
  out[i] = reinterpret_cast<float*>(shared)[i];
}

TEST(SimtTest, FindsAMissingOrTooEarlyWait) {
  Device in(kThreads);
  for (int i = 0; i < kThreads; ++i) in.data[i] = static_cast<float>(i);
  EXPECT_TRUE(AlwaysRight(Copy<0, true>, static_cast<const float*>(in.data)));
  EXPECT_FALSE(AlwaysRight(Copy<1, true>, static_cast<const float*>(in.data)));
  EXPECT_FALSE(AlwaysRight(Copy<0, false>, static_cast<const float*>(in.data)));
}

// A stage that is filled again while others still read it.
void Refill(float* out, const float* in, bool barrier) {
  uint8_t* shared = ptx::SharedMemory();
  const int i = static_cast<int>(threadIdx.x);
  if (i < kThreads / 4) ptx::CopyAsync16(shared + 16 * i, in + 4 * i, true);
  ptx::CommitCopies();
  ptx::WaitCopies<0>();
  ptx::SyncBlock();
  const float mine = reinterpret_cast<float*>(shared)[kThreads - 1 - i];
  if (barrier) ptx::SyncBlock();
  if (i < kThreads / 4) ptx::CopyAsync16(shared + 16 * i, in + 4 * i, true);
  ptx::CommitCopies();
  out[i] = kThreads - 1 - mine;
}

TEST(SimtTest, FindsABufferThatIsFilledTooEarly) {
  Device in(kThreads);
  for (int i = 0; i < kThreads; ++i) in.data[i] = static_cast<float>(i);
  EXPECT_TRUE(AlwaysRight(Refill, static_cast<const float*>(in.data), true));
  EXPECT_FALSE(AlwaysRight(Refill, static_cast<const float*>(in.data), false));
}

std::string FaultOf(void (*kernel)(float*), uint32_t threads = kThreads) {
  Device out(kThreads);
  try {
    (void)ptx::Launch(kernel, {dim3(1), threads, 64}, nullptr, out.data);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

TEST(SimtTest, NamesWhatLanesDoWrong) {
  EXPECT_THAT(FaultOf([](float*) {
                if (ptx::Lane() == 3) return;
                ptx::SyncWarp();
              }),
              HasSubstr("deadlock"));
  EXPECT_THAT(FaultOf([](float* out) {
                out[threadIdx.x] = ptx::Lane() < 16 ? ptx::ShuffleXor(1.0f, 1)
                                                    : static_cast<float>(ptx::Ballot(true));
              }),
              HasSubstr("diverged"));
  EXPECT_THAT(FaultOf([](float*) { ptx::SyncWarp(); }, 40), HasSubstr("fewer than 32"));
  EXPECT_THAT(FaultOf([](float* out) { ptx::CopyAsync16(ptx::SharedMemory() + 4, out, true); }),
              HasSubstr("not 16-byte aligned"));
  EXPECT_THAT(FaultOf([](float*) { ptx::SharedMemory()[64] = 1; }), HasSubstr("behind the end"));
  EXPECT_EQ(FaultOf([](float* out) { out[threadIdx.x] = 0; }), "");
}

TEST(SimtDeathTest, AccessesOutsideOfMemoryDie) {
  const auto read_at = [](size_t index) {
    Device out(1024);
    ptx::Launch(
        +[](float* data, size_t at) { data[0] = data[at]; }, {dim3(1), 1}, nullptr, out.data,
        index);
  };
  EXPECT_DEATH(read_at(1024), "");
  EXPECT_DEATH(
      {
        Device out(1023);
        out.data[1023] = 0;
      },
      "wrote behind the end");
}

TEST(SimtTest, ExchangesAreCudas) {
  Device out(kThreads);
  (void)ptx::Launch(
      +[](float* data) {
        const int lane = ptx::Lane();
        const uint32_t votes = ptx::Ballot(lane % 3 == 0);
        const bool right =
            ptx::ShuffleFrom(lane * 7, 5) == 35 &&
            ptx::ShuffleUp(lane, 4) == (lane < 4 ? lane : lane - 4) &&
            ptx::ShuffleXor(static_cast<float>(lane), 9) == static_cast<float>(lane ^ 9) &&
            votes == 0x49249249u && ptx::LowestBit(votes & ~1u) == 3;
        data[threadIdx.x] = right ? 1.0f : 0.0f;
      },
      {dim3(1), kThreads}, nullptr, out.data);
  for (int i = 0; i < kThreads; ++i) EXPECT_EQ(out.data[i], 1.0f) << i;
}

// a [16][16] b [16][8], from shared memory by ldmatrix, both ways to hold b.
void Product(float* d, const float* a, const float* b, bool transposed) {
  auto* a_shared = reinterpret_cast<__nv_bfloat16*>(ptx::SharedMemory());
  __nv_bfloat16* b_shared = a_shared + 256;
  const int lane = ptx::Lane();
  for (int i = lane; i < 256; i += 32) a_shared[i] = __float2bfloat16_rn(a[i]);
  for (int i = lane; i < 256; i += 32) {
    // [k][16 columns] when transposed, else [16 columns][k]; columns 8 to 15 are not used.
    const int k = transposed ? i / 16 : i % 16;
    const int column = transposed ? i % 16 : i / 16;
    b_shared[i] = __float2bfloat16_rn(column < 8 ? b[k * 8 + column] : 0.0f);
  }
  ptx::SyncWarp();
  uint32_t left[4], right[4];
  ptx::LoadMatrices(left, a_shared + lane % 16 * 16 + lane / 16 * 8);
  if (transposed) {
    ptx::LoadMatricesTransposed(right, b_shared + lane % 16 * 16 + lane / 16 * 8);
  } else {
    ptx::LoadMatrices(right, b_shared + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
  }
  float sum[4] = {};
  ptx::MmaBf16(sum, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) {
    d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
  }
}

TEST(SimtTest, MatricesMultiply) {
  Device a(256), b(128), d(128);
  for (int i = 0; i < 256; ++i) a.data[i] = static_cast<float>(i % 11 - 5);
  for (int i = 0; i < 128; ++i) b.data[i] = static_cast<float>(i % 7 - 3);
  for (const bool transposed : {false, true}) {
    std::fill_n(d.data, 128, NAN);
    (void)ptx::Launch(Product, {dim3(1), 32, 1024}, nullptr, d.data, a.data, b.data, transposed);
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        float want = 0;
        for (int k = 0; k < 16; ++k) want += a.data[row * 16 + k] * b.data[k * 8 + column];
        EXPECT_EQ(d.data[row * 8 + column], want) << row << " " << column;
      }
    }
  }
}

}  // namespace
}  // namespace darkroom::emulator
