// One access per thread and element, coalesced. Convert, which every bf16 product of f32
// activations needs, takes eight elements at a time.
#include <string>

#include "kernels/common/activation.h"
#include "kernels/common/striding.h"
#include "kernels/common/validate.h"
#include "kernels/common/vectors.h"
#include "kernels/ops/pointwise/pointwise.h"
#include "kernels/ptx/launch.h"

namespace darkroom::kernels {
namespace {

__global__ void __launch_bounds__(kStridingThreads)
    AddKernel(DenseTensor x, DenseTensor y, DenseTensor out) {
  ForEachIndex(out.elements, [&](int64_t i) {
    StoreElement(out.data, out.dtype, i,
                 LoadElement(x.data, x.dtype, i) + LoadElement(y.data, y.dtype, i % y.elements));
  });
}

__global__ void __launch_bounds__(kStridingThreads) SiluKernel(DenseTensor x, DenseTensor out) {
  ForEachIndex(out.elements, [&](int64_t i) {
    StoreElement(out.data, out.dtype, i,
                 Activate(Activation::kSilu, LoadElement(x.data, x.dtype, i)));
  });
}

template <typename In, typename Out>
__global__ void __launch_bounds__(kStridingThreads)
    ConvertKernel(const In* x, Out* out, int64_t elements) {
  const int64_t vectors = elements / kVectorElements;
  ForEachIndex(vectors, [&](int64_t i) {
    float values[kVectorElements];
    LoadVector(x + i * kVectorElements, values);
    StoreVector(out + i * kVectorElements, values);
  });
  ForEachIndex(elements % kVectorElements, [&](int64_t i) {
    out[vectors * kVectorElements + i] = FromFloat<Out>(ToFloat(x[vectors * kVectorElements + i]));
  });
}

Result Check(const DenseTensor& x, const DenseTensor& out) {
  Result result = FirstError(CheckPresent("x", x.data), CheckPresent("out", out.data),
                             CheckRange("x.elements", x.elements, 1, INT64_MAX));
  if (!result.ok()) return result;
  if (x.elements != out.elements) {
    return Result::Invalid("out has " + std::to_string(out.elements) + " elements; it must have " +
                           std::to_string(x.elements));
  }
  if (!IsRowDType(x.dtype) || !IsRowDType(out.dtype)) {
    return Result::Invalid("x and out must be f32 or bf16");
  }
  return {};
}

}  // namespace

Result Add(const DenseTensor& x, const DenseTensor& y, const DenseTensor& out,
           cudaStream_t stream) {
  Result result = FirstError(Check(x, out), CheckPresent("y", y.data),
                             CheckRange("y.elements", y.elements, 1, x.elements));
  if (!result.ok()) return result;
  if (x.elements % y.elements != 0 || !IsRowDType(y.dtype)) {
    return Result::Invalid("y must be f32 or bf16 and fit into x a whole number of times");
  }
  return ptx::Launch(AddKernel, {StridingBlocks(out.elements), kStridingThreads}, stream, x, y,
                     out);
}

Result Silu(const DenseTensor& x, const DenseTensor& out, cudaStream_t stream) {
  if (Result valid = Check(x, out); !valid.ok()) return valid;
  return ptx::Launch(SiluKernel, {StridingBlocks(out.elements), kStridingThreads}, stream, x, out);
}

Result Convert(const DenseTensor& x, const DenseTensor& out, cudaStream_t stream) {
  Result result = FirstError(Check(x, out), CheckAligned("x", x.data, sizeof(Bytes16)),
                             CheckAligned("out", out.data, sizeof(Bytes16)));
  if (!result.ok()) return result;
  const dim3 blocks = StridingBlocks(x.elements / kVectorElements + 1);
  return DispatchRowDType(x.dtype, [&]<typename In>(In) {
    return DispatchRowDType(out.dtype, [&]<typename Out>(Out) {
      return ptx::Launch(ConvertKernel<In, Out>, {blocks, kStridingThreads}, stream,
                         static_cast<const In*>(x.data), static_cast<Out*>(out.data), x.elements);
    });
  });
}

}  // namespace darkroom::kernels
