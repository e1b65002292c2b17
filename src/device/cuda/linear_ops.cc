#include <cstddef>

#include "device/cuda/cuda_error.h"
#include "device/cuda/ops_internal.h"
#include "device/cuda/weights.h"
#include "device/op_check.h"
#include "kernels/ops/adapter_down/adapter_down.h"
#include "kernels/ops/linear/linear.h"

// Linear: rows as the kernels want them, the adapters' first product, then the product itself.
namespace darkroom::cuda {
namespace {

static_assert(sizeof(AdapterRange) == sizeof(kernels::AdapterRange) &&
              offsetof(AdapterRange, level) == offsetof(kernels::AdapterRange, level) &&
              offsetof(AdapterRange, weight) == offsetof(kernels::AdapterRange, weight));

// What a product needs of the stream's scratch memory, one behind the other.
struct LinearScratch {
  LinearScratch(const LinearArgs& args, const PackedBatch& batch) {
    constexpr size_t kAlignment = 256;
    const auto aligned = [](size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; };
    const auto& weight = static_cast<const CudaLinearWeight&>(*args.weight);
    if (weight.matrix().compute == DType::kBf16 && args.x.dtype != DType::kBf16) {
      x_bytes = aligned(static_cast<size_t>(args.x.size()) * ByteSize(DType::kBf16));
    }
    if (const int32_t rank = weight.adapters().packed().rank_max;
        batch.adapters != nullptr && rank > 0) {
      const int64_t hidden = kernels::HiddenElements(batch.capacity, batch.adapter_levels, rank);
      hidden_bytes = aligned(static_cast<size_t>(hidden) * ByteSize(weight.matrix().compute));
    }
  }
  size_t bytes() const { return x_bytes + hidden_bytes; }

  size_t x_bytes = 0;       // 0: x is taken as it is
  size_t hidden_bytes = 0;  // 0: no adapters
};

kernels::LinearArgs KernelArgs(const LinearArgs& args, const PackedBatch& batch) {
  const Matrix& matrix = static_cast<const CudaLinearWeight&>(*args.weight).matrix();
  return {.batch = KernelBatch(batch),
          .in_features = matrix.in,
          .out_features = matrix.out,
          .x = args.x.data,
          .x_dtype = KernelDType(args.x.dtype),
          .weight = matrix.elements.data(),
          .weight_dtype = KernelDType(matrix.stored),
          .bias = matrix.bias_data(),
          .activation = static_cast<kernels::Activation>(args.activation),
          .residual = args.residual.data,
          .residual_dtype = KernelDType(args.residual.dtype),
          .gate = args.gate.as<const float>(),
          .gate_stride = Or(args.gate_stride, matrix.out),
          .factor = args.factor.data,
          .factor_dtype = KernelDType(args.factor.dtype),
          .out = args.out.data,
          .out_dtype = KernelDType(args.out.dtype),
          .out_stride = Or(args.out_stride, matrix.out),
          .adapters = {}};
}

// Launches what the product itself needs done before: its arguments.
absl::StatusOr<kernels::LinearArgs> Prepare(const LinearArgs& args, const PackedBatch& batch,
                                            CudaStream& stream) {
  kernels::LinearArgs linear = KernelArgs(args, batch);
  const LinearScratch needs(args, batch);
  if (needs.bytes() == 0) return linear;
  auto scratch = stream.Scratch(needs.bytes());
  if (!scratch.ok()) return scratch.status();
  if (needs.x_bytes > 0) {
    if (absl::Status status = ConvertToBf16(args.x, *scratch, stream); !status.ok()) return status;
    linear.x = *scratch;
    linear.x_dtype = kernels::DType::kBf16;
  }
  if (needs.hidden_bytes == 0) return linear;
  linear.adapters = static_cast<const CudaLinearWeight&>(*args.weight).adapters().packed();
  linear.adapters.ranges = reinterpret_cast<const kernels::AdapterRange*>(batch.adapters);
  linear.adapters.range_count = batch.adapter_count;
  linear.adapters.levels = batch.adapter_levels;
  linear.adapters.hidden = static_cast<char*>(*scratch) + needs.x_bytes;
  const kernels::AdapterDownArgs down{.batch = linear.batch,
                                      .in_features = linear.in_features,
                                      .x = linear.x,
                                      .x_dtype = linear.x_dtype,
                                      .adapters = linear.adapters};
  if (absl::Status status = ToStatus("AdapterDown", kernels::AdapterDown(down, stream.get()));
      !status.ok()) {
    return status;
  }
  return linear;
}

}  // namespace

absl::Status ConvertToBf16(const Tensor& x, void* memory, CudaStream& stream) {
  const kernels::DenseTensor converted{memory, kernels::DType::kBf16, x.size()};
  return ToStatus("Convert", kernels::Convert(Dense(x), converted, stream.get()));
}

absl::Status Linear(const kernels::DeviceTraits& device, const LinearArgs& args,
                    const PackedBatch& batch, CudaStream& stream) {
  if (absl::Status status = CheckLinear(args, batch); !status.ok()) return status;
  const auto linear = Prepare(args, batch, stream);
  if (!linear.ok()) return linear.status();
  const Matrix& matrix = static_cast<const CudaLinearWeight&>(*args.weight).matrix();
  if (matrix.compute == DType::kBf16) {
    return ToStatus("Linear", kernels::Linear(*linear, device, stream.get()));
  }
  if (kernels::Result valid = kernels::ValidateLinear(*linear); !valid.ok()) {
    return ToStatus("Linear", valid);
  }
  return ToStatus("Linear", kernels::LinearSimt(*linear, stream.get()));
}

}  // namespace darkroom::cuda
