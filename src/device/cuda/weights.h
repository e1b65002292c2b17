#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "device/cuda/bound_adapters.h"
#include "device/cuda/cuda_memory.h"
#include "device/cuda/cuda_stream.h"

namespace darkroom::cuda {

// A matrix [out, in] in bf16 or f32, K-contiguous as the kernels read it, and its bias.
struct Matrix {
  int64_t in = 0;
  int64_t out = 0;
  DType stored = DType::kF32;   // of the elements
  DType compute = DType::kF32;  // what products are of
  DeviceMemory elements;
  DeviceMemory bias;  // f32 [out], zeros where there was none

  const float* bias_data() const { return static_cast<const float*>(bias.data()); }
};

class CudaLinearWeight : public LinearWeight {
 public:
  // `columns`: out_features of each part that it was packed of.
  CudaLinearWeight(Matrix matrix, std::vector<int64_t> columns)
      : matrix_(std::move(matrix)), columns_(std::move(columns)) {}

  int64_t in_features() const override { return matrix_.in; }
  int64_t out_features() const override { return matrix_.out; }
  const Matrix& matrix() const { return matrix_; }
  const BoundAdapters& adapters() const { return adapters_; }

  // As Ops::BindAdapter.
  absl::Status Bind(int32_t adapter, absl::Span<const AdapterPart> parts, CudaStream& stream);

 private:
  Matrix matrix_;
  std::vector<int64_t> columns_;
  BoundAdapters adapters_;
};

// Rows are (tap row, tap column, channel).
class CudaConvWeight : public ConvWeight {
 public:
  CudaConvWeight(Matrix matrix, int64_t in_channels, int kernel, int stride,
                 const ConvPadding& padding)
      : matrix_(std::move(matrix)),
        in_channels_(in_channels),
        kernel_(kernel),
        stride_(stride),
        padding_(padding) {}

  int64_t in_channels() const override { return in_channels_; }
  int64_t out_channels() const override { return matrix_.out; }
  const Matrix& matrix() const { return matrix_; }
  int kernel() const { return kernel_; }
  int stride() const { return stride_; }
  const ConvPadding& padding() const { return padding_; }

 private:
  Matrix matrix_;
  int64_t in_channels_;
  int kernel_;
  int stride_;
  ConvPadding padding_;
};

// Copies the parts to the device through `stream`, one below the other. What is all bf16 stays
// bf16.
absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                         DType compute, CudaStream& stream);
absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(const Tensor& weight, const Tensor& bias,
                                                     int stride, const ConvPadding& padding,
                                                     DType compute, CudaStream& stream);

}  // namespace darkroom::cuda
