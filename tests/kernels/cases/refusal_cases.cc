#include <functional>

#include "kernels/cases/support.h"
#include "kernels/common/limits.h"
#include "kernels/ops/adapter_down/adapter_down.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/ops/row_norm/row_norm.h"

// Arguments that no kernel can take are refused on the host, with a text that says what would be
// right; nothing is launched. Valid sizes that a kernel does not have go to another one.

namespace darkroom::kernels::cases {
namespace {

constexpr int64_t kFloats = 4096;

// Memory that valid arguments point to.
struct Memory {
  Memory() : batch({{0, 4}}), floats(DType::kF32, kFloats), out(DType::kF32, kFloats) {}
  const void* Behind(int64_t bytes) const {
    return static_cast<const uint8_t*>(floats.data()) + bytes;
  }

  Batch batch;
  DeviceFloats floats, out;
};

LinearArgs ValidLinear(const Memory& memory) {
  LinearArgs args;
  args.batch = memory.batch.device();
  args.in_features = args.out_features = args.out_stride = args.gate_stride = 16;
  args.x = args.weight = memory.floats.data();
  args.out = memory.out.data();
  return args;
}

AttentionArgs ValidAttention(const Memory& memory) {
  AttentionArgs args;
  args.batch = memory.batch.device();
  args.q = args.k = args.v = memory.floats.data();
  args.dtype = args.out_dtype = DType::kF32;
  args.heads = 1;
  args.head_dim = 40;
  args.row_stride = args.out_stride = 40;
  args.out = memory.out.data();
  return args;
}

// `refused` is refused with a text that has `words` in it.
void Refused(Check& check, const Result& refused, const std::string& words) {
  check.That(refused.code == cudaErrorInvalidValue, words + ": not refused");
  check.That(refused.message.find(words) != std::string::npos,
             "said '" + refused.message + "', not '" + words + "'");
}

void RefuseLinear(Check& check) {
  const Memory memory;
  const DeviceTraits device{80, 4};
  const auto refused = [&](const std::function<void(LinearArgs&)>& change, const char* words) {
    LinearArgs args = ValidLinear(memory);
    change(args);
    Refused(check, Linear(args, device, nullptr), words);
  };
  check.Ok(Linear(ValidLinear(memory), device, nullptr));
  refused([](LinearArgs& args) { args.batch.capacity = 0; }, "capacity is 0; it must be 1 to");
  refused([](LinearArgs& args) { args.batch.capacity = kRowsMax + 1; }, "it must be 1 to 67108864");
  refused([](LinearArgs& args) { args.out_features = kFeaturesMax + 1; }, "out_features is 131073");
  refused([&](LinearArgs& args) { args.x = memory.Behind(2); },
          "x is 2 bytes behind a multiple of 4");
  refused([&](LinearArgs& args) { args.bias = static_cast<const float*>(memory.Behind(3)); },
          "bias is 3 bytes behind");
  refused(
      [&](LinearArgs& args) {
        args.weight = memory.Behind(1);
        args.weight_dtype = DType::kBf16;
      },
      "weight is 1 bytes behind a multiple of 2");
  refused([](LinearArgs& args) { args.x = nullptr; }, "x is null");
  refused([](LinearArgs& args) { args.x_dtype = DType::kF16; }, "must be f32 or bf16");
  // Adapters.
  const AdapterRange range{};
  const auto with = [&](const std::function<void(Adapters&)>& change, const char* words) {
    AdapterDownArgs args{.batch = memory.batch.device(), .in_features = 16};
    args.x = memory.floats.data();
    args.adapters = {.ranges = &range,
                     .range_count = memory.batch.device().live_rows,
                     .levels = 1,
                     .matrices = static_cast<const LowRank*>(memory.floats.data()),
                     .matrix_count = 1,
                     .rank_max = 32,
                     .hidden = memory.out.data()};
    change(args.adapters);
    Refused(check, AdapterDown(args, nullptr), words);
    LinearArgs linear = ValidLinear(memory);
    linear.adapters = args.adapters;
    if (linear.adapters.ranges != nullptr) Refused(check, Linear(linear, device, nullptr), words);
  };
  with([](Adapters& adapters) { adapters.ranges = nullptr; }, "ranges is null");
  with([](Adapters& adapters) { adapters.levels = 0; }, "levels is 0; it must be 1 to 8");
  with([](Adapters& adapters) { adapters.rank_max = 40; }, "must be a multiple of 32");
  with([](Adapters& adapters) { adapters.rank_max = 5000; }, "it must be 32 to 4096");
  with([&](Adapters& adapters) { adapters.hidden = static_cast<uint8_t*>(memory.out.data()) + 8; },
       "hidden is 8 bytes behind a multiple of 16");
}

void RefuseAttention(Check& check) {
  const Memory memory;
  const DeviceTraits device{90, 4};
  const auto refused = [&](const std::function<void(AttentionArgs&)>& change, const char* words) {
    AttentionArgs args = ValidAttention(memory);
    change(args);
    Refused(check, Attention(args, device, nullptr), words);
  };
  check.Ok(Attention(ValidAttention(memory), device, nullptr));
  refused([](AttentionArgs& args) { args.head_dim = 0; }, "head_dim is 0; it must be 1 to 1024");
  refused([](AttentionArgs& args) { args.head_dim = 1025; }, "head_dim is 1025");
  refused([](AttentionArgs& args) { args.row_stride = 39; }, "row_stride is 39; it must be 40 to");
  refused([&](AttentionArgs& args) { args.k = memory.Behind(6); },
          "k is 2 bytes behind a multiple of 4");
  refused([&](AttentionArgs& args) { args.batch.sequences_max = 0; }, "sequences_max is 0");
  refused([&](AttentionArgs& args) { args.out = const_cast<void*>(args.v); },
          "out must not be q, k or v");
  // A size or address that the tensor cores do not have is computed on the ordinary units.
  AttentionArgs odd = ValidAttention(memory);
  odd.dtype = DType::kBf16;
  odd.head_dim = 128;
  odd.row_stride = 128;
  check.That(ChooseAttentionKernel(odd, device) == AttentionKernel::kSm90, "128 on Hopper");
  odd.q = memory.Behind(2);
  check.That(ChooseAttentionKernel(odd, device) == AttentionKernel::kSimt, "unaligned");
  odd.q = memory.floats.data();
  odd.head_dim = 80;
  check.That(ChooseAttentionKernel(odd, device) == AttentionKernel::kSimt, "head_dim 80");
}

void RefuseRowNorm(Check& check) {
  const Memory memory;
  const auto refused = [&](const std::function<void(RowNormArgs&)>& change, const char* words) {
    RowNormArgs args;
    args.batch = memory.batch.device();
    args.x = memory.floats.data();
    args.out = memory.out.data();
    args.dim = 24;
    check.Ok(RowNorm(args, nullptr));
    change(args);
    Refused(check, RowNorm(args, nullptr), words);
  };
  refused([](RowNormArgs& args) { args.dim = kFeaturesMax + 1; }, "dim is 131073");
  refused([](RowNormArgs& args) { args.epsilon = -1.0f; }, "epsilon must not be negative");
  refused([&](RowNormArgs& args) { args.x = memory.Behind(1); }, "x is 1 bytes behind");
  refused([&](RowNormArgs& args) { args.weight = static_cast<const float*>(memory.Behind(2)); },
          "weight is 2 bytes behind a multiple of 4");
}

}  // namespace

std::vector<Case> RefusalCases(Extent /*extent*/) {
  return {{"refusals/linear", RefuseLinear},
          {"refusals/attention", RefuseAttention},
          {"refusals/row_norm", RefuseRowNorm}};
}

}  // namespace darkroom::kernels::cases
