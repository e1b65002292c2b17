#include "device/cuda/cuda_error.h"
#include "device/cuda/ops_internal.h"
#include "device/cuda/weights.h"
#include "device/op_check.h"
#include "kernels/ops/conv2d/conv2d.h"
#include "kernels/ops/group_norm/group_norm.h"
#include "kernels/ops/picture/picture.h"

// The autoencoder's ops.
namespace darkroom::cuda {

absl::Status Conv2d(const Conv2dArgs& args, CudaStream& stream) {
  if (args.weight == nullptr) return absl::InvalidArgumentError("Conv2d: weight is missing");
  const auto& weight = static_cast<const CudaConvWeight&>(*args.weight);
  if (absl::Status status = CheckConv2d(args, weight.kernel(), weight.stride(), weight.padding());
      !status.ok()) {
    return status;
  }
  const Matrix& matrix = weight.matrix();
  const auto size = [](int64_t n) { return static_cast<int32_t>(n); };
  kernels::Conv2dArgs conv{.height = size(args.x.dims[0]),
                           .width = size(args.x.dims[1]),
                           .in_channels = size(args.x.dims[2]),
                           .out_height = size(args.out.dims[0]),
                           .out_width = size(args.out.dims[1]),
                           .out_channels = size(matrix.out),
                           .kernel = weight.kernel(),
                           .stride = weight.stride(),
                           .pad_top = weight.padding().top,
                           .pad_left = weight.padding().left,
                           .x = args.x.data,
                           .x_dtype = KernelDType(args.x.dtype),
                           .weight = matrix.elements.data(),
                           .weight_dtype = KernelDType(matrix.stored),
                           .bias = matrix.bias_data(),
                           .residual = args.residual.data,
                           .residual_dtype = KernelDType(args.residual.dtype),
                           .out = args.out.data,
                           .out_dtype = KernelDType(args.out.dtype)};
  if (matrix.compute == DType::kF32) {
    if (kernels::Result valid = kernels::ValidateConv2d(conv); !valid.ok()) {
      return ToStatus("Conv2d", valid);
    }
    return ToStatus("Conv2d", kernels::Conv2dSimt(conv, stream.get()));
  }
  if (args.x.dtype != DType::kBf16) {
    auto x = stream.Scratch(static_cast<size_t>(args.x.size()) * ByteSize(DType::kBf16));
    if (!x.ok()) return x.status();
    if (absl::Status status = ConvertToBf16(args.x, *x, stream); !status.ok()) return status;
    conv.x = *x;
    conv.x_dtype = kernels::DType::kBf16;
  }
  return ToStatus("Conv2d", kernels::Conv2d(conv, stream.get()));
}

absl::Status GroupNorm(const GroupNormArgs& args, CudaStream& stream) {
  if (absl::Status status = CheckGroupNorm(args); !status.ok()) return status;
  kernels::GroupNormArgs norm{.pixels = args.x.dims[0] * args.x.dims[1],
                              .channels = static_cast<int32_t>(args.x.dims[2]),
                              .groups = args.groups,
                              .epsilon = args.epsilon,
                              .silu = args.silu,
                              .x = args.x.data,
                              .x_dtype = KernelDType(args.x.dtype),
                              .gamma = args.gamma.as<const float>(),
                              .beta = args.beta.as<const float>(),
                              .out = args.out.data,
                              .out_dtype = KernelDType(args.out.dtype)};
  auto scratch = stream.Scratch(kernels::GroupNormScratchBytes(norm));
  if (!scratch.ok()) return scratch.status();
  norm.scratch = static_cast<float*>(*scratch);
  return ToStatus("GroupNorm", kernels::GroupNorm(norm, stream.get()));
}

absl::Status Upsample2x(const Tensor& x, const Tensor& out, CudaStream& stream) {
  if (absl::Status status = CheckUpsample2x(x, out); !status.ok()) return status;
  const kernels::PictureShape shape{static_cast<int32_t>(x.dims[0]),
                                    static_cast<int32_t>(x.dims[1]),
                                    static_cast<int32_t>(x.dims[2])};
  return ToStatus("Upsample2x",
                  kernels::Upsample2x(shape, x.data, out.data, KernelDType(x.dtype), stream.get()));
}

absl::Status ToPixels(const Tensor& x, const Tensor& out, CudaStream& stream) {
  if (absl::Status status = CheckToPixels(x, out); !status.ok()) return status;
  return ToStatus("ToPixels", kernels::ToPixels(x.data, KernelDType(x.dtype), x.size(),
                                                out.as<uint8_t>(), stream.get()));
}

}  // namespace darkroom::cuda
