#include <utility>

#include "base/error.h"
#include "device/cpu/half.h"
#include "device/cpu/live_batch.h"
#include "device/cpu/matmul.h"
#include "device/cpu/ops_internal.h"
#include "device/op_check.h"

namespace darkroom::cpu {
namespace {

class CpuLinearWeight : public LinearWeight {
 public:
  explicit CpuLinearWeight(PackedMatrix matrix) : matrix_(std::move(matrix)) {}
  int64_t in_features() const override { return matrix_.depth(); }
  int64_t out_features() const override { return matrix_.columns(); }
  const PackedMatrix& matrix() const { return matrix_; }

 private:
  PackedMatrix matrix_;
};

// The part that holds a column of the whole; `column` becomes the part's own.
const LinearPart& PartOf(absl::Span<const LinearPart> parts, int64_t& column) {
  size_t i = 0;
  for (; column >= parts[i].weight.dims[0]; ++i) column -= parts[i].weight.dims[0];
  return parts[i];
}

}  // namespace

absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(Context& context,
                                                         absl::Span<const LinearPart> parts,
                                                         DType compute) {
  if (absl::Status status = CheckPackLinear(parts, compute); !status.ok()) return status;
  const int64_t depth = parts[0].weight.dims[1];
  int64_t columns = 0;
  DType source = DType::kBf16;
  for (const LinearPart& part : parts) {
    columns += part.weight.dims[0];
    if (part.weight.dtype != DType::kBf16) source = DType::kF32;
  }
  auto matrix = PackedMatrix::Make(
      context, columns, depth, source, compute,
      [&](int64_t column, float* values) {
        const Tensor& weight = PartOf(parts, column).weight;
        ReadElements(weight.data, weight.dtype, column * depth, depth, values);
      },
      [&](int64_t column) {
        const Tensor& bias = PartOf(parts, column).bias;
        return bias ? ElementAt(bias.data, bias.dtype, column) : 0.0f;
      });
  if (!matrix.ok()) return matrix.status();
  return std::make_unique<CpuLinearWeight>(*std::move(matrix));
}

absl::Status Linear(Context& context, const LinearArgs& args, const PackedBatch& batch) {
  if (absl::Status status = CheckLinear(args, batch); !status.ok()) return status;
  if (batch.adapter_count != nullptr && *batch.adapter_count > 0) {
    return Error(absl::StatusCode::kUnimplemented, "ADAPTERS_NOT_ON_CPU",
                 "Linear: the batch names adapters, which the CPU backend does not apply");
  }
  const auto* weight = dynamic_cast<const CpuLinearWeight*>(args.weight);
  if (weight == nullptr) {
    return absl::InvalidArgumentError("Linear: weight was packed by another backend");
  }
  const auto rows = args.gate ? LiveRowsOfSequences("Linear", batch) : LiveRows("Linear", batch);
  if (!rows.ok()) return rows.status();
  const PackedMatrix& matrix = weight->matrix();
  const int64_t row_bytes = matrix.depth() * static_cast<int64_t>(ByteSize(args.x.dtype));
  const char* x = args.x.as<const char>();
  return Matmul(context,
                {.weight = matrix,
                 .rows = *rows,
                 .read_row =
                     [&](int64_t row, RowWriter& writer) {
                       writer.Append(x + row * row_bytes, args.x.dtype, matrix.depth());
                     },
                 .activation = args.activation,
                 .gate = args.gate.as<const float>(),
                 .gate_stride = args.gate_stride != 0 ? args.gate_stride : matrix.columns(),
                 .row_to_sequence = batch.row_to_sequence,
                 .residual = args.residual.data,
                 .residual_dtype = args.residual.dtype,
                 .factor = args.factor.data,
                 .factor_dtype = args.factor.dtype,
                 .out = args.out.data,
                 .out_stride = args.out_stride != 0 ? args.out_stride : matrix.columns(),
                 .out_dtype = args.out.dtype});
}

}  // namespace darkroom::cpu
