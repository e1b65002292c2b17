#include <utility>

#include "device/cpu/half.h"
#include "device/cpu/matmul.h"
#include "device/cpu/ops_internal.h"
#include "device/op_check.h"

namespace darkroom::cpu {
namespace {

// A convolution is the product of the weight, as [out, (y, x, in)], with one row per output pixel:
// the patch that it sees. Patches are gathered a row block at a time into scratch, never as a
// whole.
class CpuConvWeight : public ConvWeight {
 public:
  CpuConvWeight(PackedMatrix matrix, int64_t in_channels, int64_t kernel, int stride,
                const ConvPadding& padding)
      : matrix_(std::move(matrix)),
        in_channels_(in_channels),
        kernel_(kernel),
        stride_(stride),
        padding_(padding) {}
  int64_t in_channels() const override { return in_channels_; }
  int64_t out_channels() const override { return matrix_.columns(); }
  const PackedMatrix& matrix() const { return matrix_; }
  int64_t kernel() const { return kernel_; }
  int stride() const { return stride_; }
  const ConvPadding& padding() const { return padding_; }

 private:
  PackedMatrix matrix_;
  int64_t in_channels_;
  int64_t kernel_;
  int stride_;
  ConvPadding padding_;
};

// Appends the patch whose top left corner is (top, left), zeros where it leaves the image.
void AppendPatch(const Tensor& x, int64_t kernel, int64_t top, int64_t left, RowWriter& writer) {
  const int64_t height = x.dims[0];
  const int64_t width = x.dims[1];
  const int64_t channels = x.dims[2];
  const int64_t element = static_cast<int64_t>(ByteSize(x.dtype));
  const int64_t before = left < 0 ? -left : 0;
  const int64_t after = left + kernel > width ? left + kernel - width : 0;
  for (int64_t y = top; y < top + kernel; ++y) {
    if (y < 0 || y >= height || before + after >= kernel) {
      writer.AppendZeros(kernel * channels);
      continue;
    }
    writer.AppendZeros(before * channels);
    writer.Append(x.as<const char>() + (y * width + left + before) * channels * element, x.dtype,
                  (kernel - before - after) * channels);
    writer.AppendZeros(after * channels);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(Context& context, const Tensor& weight,
                                                     const Tensor& bias, int stride,
                                                     const ConvPadding& padding, DType compute) {
  if (absl::Status status = CheckPackConv(weight, bias, stride, padding, compute); !status.ok()) {
    return status;
  }
  const int64_t channels = weight.dims[1];
  const int64_t taps = weight.dims[2] * weight.dims[3];
  auto matrix = PackedMatrix::Make(
      context, weight.dims[0], channels * taps, weight.dtype, compute,
      [&](int64_t column, float* values) {
        for (int64_t channel = 0; channel < channels; ++channel) {
          for (int64_t tap = 0; tap < taps; ++tap) {
            values[tap * channels + channel] =
                ElementAt(weight.data, weight.dtype, (column * channels + channel) * taps + tap);
          }
        }
      },
      [&](int64_t column) { return bias ? ElementAt(bias.data, bias.dtype, column) : 0.0f; });
  if (!matrix.ok()) return matrix.status();
  return std::make_unique<CpuConvWeight>(*std::move(matrix), channels, weight.dims[2], stride,
                                         padding);
}

absl::Status Conv2d(Context& context, const Conv2dArgs& args) {
  if (args.weight == nullptr) return absl::InvalidArgumentError("Conv2d: weight is missing");
  const auto* weight = dynamic_cast<const CpuConvWeight*>(args.weight);
  if (weight == nullptr) {
    return absl::InvalidArgumentError("Conv2d: weight was packed by another backend");
  }
  if (absl::Status status =
          CheckConv2d(args, weight->kernel(), weight->stride(), weight->padding());
      !status.ok()) {
    return status;
  }
  const int64_t out_width = args.out.dims[1];
  return Matmul(context, {.weight = weight->matrix(),
                          .rows = args.out.dims[0] * out_width,
                          .read_row =
                              [&](int64_t row, RowWriter& writer) {
                                AppendPatch(
                                    args.x, weight->kernel(),
                                    row / out_width * weight->stride() - weight->padding().top,
                                    row % out_width * weight->stride() - weight->padding().left,
                                    writer);
                              },
                          .residual = args.residual.data,
                          .residual_dtype = args.residual.dtype,
                          .out = args.out.data,
                          .out_stride = weight->out_channels(),
                          .out_dtype = args.out.dtype});
}

}  // namespace darkroom::cpu
