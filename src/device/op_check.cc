#include "device/op_check.h"

#include <cmath>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "device/limits.h"

namespace darkroom {
namespace {

std::string ShapeOf(const Tensor& tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor.rank; ++i) absl::StrAppend(&text, i > 0 ? ", " : "", tensor.dims[i]);
  return text + "]";
}

std::string ShapeOf(std::initializer_list<int64_t> dims) {
  std::string text = "[";
  for (const int64_t dim : dims) absl::StrAppend(&text, text.size() > 1 ? ", " : "", dim);
  return text + "]";
}

absl::Status Refuse(const char* op, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", what));
}

bool IsRow(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBf16; }

bool IsWeight(DType dtype) { return IsRow(dtype) || dtype == DType::kF16; }

// Present, of exactly this shape, and of a dtype that rows of activations have.
absl::Status CheckRows(const char* op, const char* name, const Tensor& tensor,
                       std::initializer_list<int64_t> dims) {
  if (!tensor) return Refuse(op, absl::StrCat(name, " is missing"));
  bool same = tensor.rank == static_cast<int>(dims.size());
  int i = 0;
  for (const int64_t dim : dims) same = same && tensor.dims[i++] == dim;
  if (!same) {
    return Refuse(op, absl::StrCat(name, " is ", ShapeOf(tensor), ", must be ", ShapeOf(dims)));
  }
  if (!IsRow(tensor.dtype)) return Refuse(op, absl::StrCat(name, " must be f32 or bf16"));
  return absl::OkStatus();
}

absl::Status CheckF32(const char* op, const char* name, const Tensor& tensor,
                      std::initializer_list<int64_t> dims) {
  if (absl::Status status = CheckRows(op, name, tensor, dims); !status.ok()) return status;
  if (tensor.dtype != DType::kF32) return Refuse(op, absl::StrCat(name, " must be f32"));
  return absl::OkStatus();
}

absl::Status CheckInRange(const char* op, const char* name, int64_t value, int64_t low,
                          int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Refuse(op, absl::StrCat(name, " is ", value, ", must be ", low, " to ", high));
}

// The first error, or OK.
absl::Status All(std::initializer_list<absl::Status> checks) {
  for (const absl::Status& check : checks) {
    if (!check.ok()) return check;
  }
  return absl::OkStatus();
}

// [height, width, channels], all within bounds.
absl::Status CheckImage(const char* op, const char* name, const Tensor& image) {
  if (!image) return Refuse(op, absl::StrCat(name, " is missing"));
  if (image.rank != 3) return Refuse(op, absl::StrCat(name, " must be [height, width, channels]"));
  if (!IsRow(image.dtype)) return Refuse(op, absl::StrCat(name, " must be f32 or bf16"));
  if (absl::Status status = All({CheckInRange(op, "height", image.dims[0], 1, kRowsMax),
                                 CheckInRange(op, "width", image.dims[1], 1, kRowsMax),
                                 CheckInRange(op, "channels", image.dims[2], 1, kFeaturesMax)});
      !status.ok()) {
    return status;
  }
  return CheckInRange(op, "pixels", image.dims[0] * image.dims[1], 1, kRowsMax);
}

}  // namespace

absl::Status CheckBatch(const char* op, const PackedBatch& batch) {
  if (absl::Status status =
          All({CheckInRange(op, "capacity", batch.capacity, 1, kRowsMax),
               CheckInRange(op, "sequences_max", batch.sequences_max, 1, kSequencesMax)});
      !status.ok()) {
    return status;
  }
  if (batch.live_rows == nullptr) return Refuse(op, "batch.live_rows is missing");
  if (batch.adapters == nullptr) return absl::OkStatus();
  if (batch.adapter_count == nullptr) return Refuse(op, "batch.adapter_count is missing");
  return CheckInRange(op, "adapter_levels", batch.adapter_levels, 1, kAdapterLevelsMax);
}

absl::Status CheckPackLinear(absl::Span<const LinearPart> parts, DType compute) {
  constexpr char kOp[] = "PackLinear";
  if (!IsRow(compute)) return Refuse(kOp, "compute must be f32 or bf16");
  if (absl::Status status = CheckInRange(kOp, "number of parts", static_cast<int64_t>(parts.size()),
                                         1, kLinearPartsMax);
      !status.ok()) {
    return status;
  }
  int64_t out = 0;
  for (const auto& [weight, bias] : parts) {
    if (!weight || weight.rank != 2) return Refuse(kOp, "weight must be [out, in]");
    if (!IsWeight(weight.dtype)) return Refuse(kOp, "weight must be f32, bf16 or f16");
    if (bias && (bias.rank != 1 || bias.dims[0] != weight.dims[0] || !IsWeight(bias.dtype))) {
      return Refuse(kOp, absl::StrCat("bias must be f32, bf16 or f16 [", weight.dims[0], "]"));
    }
    if (weight.dims[1] != parts[0].weight.dims[1]) {
      return Refuse(kOp, absl::StrCat("a part has ", weight.dims[1], " in_features, the first ",
                                      parts[0].weight.dims[1]));
    }
    out += weight.dims[0];
    if (absl::Status status =
            All({CheckInRange(kOp, "out_features", out, 1, kFeaturesMax),
                 CheckInRange(kOp, "in_features", weight.dims[1], 1, kFeaturesMax)});
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBindAdapter(int64_t in, absl::Span<const int64_t> columns, int32_t adapter,
                              absl::Span<const AdapterPart> parts) {
  constexpr char kOp[] = "BindAdapter";
  if (absl::Status status = CheckInRange(kOp, "adapter", adapter, 0, kAdaptersMax - 1);
      !status.ok()) {
    return status;
  }
  if (parts.empty()) return absl::OkStatus();
  if (parts.size() != columns.size()) {
    return Refuse(
        kOp, absl::StrCat("the adapter has ", parts.size(), " parts, the weight ", columns.size()));
  }
  bool changes = false;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& [down, up, scale] = parts[i];
    if (!down && !up) continue;
    changes = true;
    if (!down || down.rank != 2 || down.dims[1] != in || !IsWeight(down.dtype)) {
      return Refuse(kOp, absl::StrCat("down must be f32, bf16 or f16 [rank, ", in, "]"));
    }
    const int64_t rank = down.dims[0];
    if (absl::Status status = CheckInRange(kOp, "rank", rank, 1, kAdapterRankMax); !status.ok()) {
      return status;
    }
    if (!up || up.rank != 2 || up.dims[0] != columns[i] || up.dims[1] != rank ||
        !IsWeight(up.dtype)) {
      return Refuse(kOp,
                    absl::StrCat("up must be f32, bf16 or f16 [", columns[i], ", ", rank, "]"));
    }
    if (!std::isfinite(scale)) return Refuse(kOp, "scale must be finite");
  }
  return changes ? absl::OkStatus() : Refuse(kOp, "the adapter changes no part");
}

absl::Status CheckPackConv(const Tensor& weight, const Tensor& bias, int stride,
                           const ConvPadding& padding, DType compute) {
  constexpr char kOp[] = "PackConv";
  if (!weight || weight.rank != 4 || weight.dims[2] != weight.dims[3]) {
    return Refuse(kOp, "weight must be [out, in, kernel, kernel]");
  }
  if (!IsWeight(weight.dtype)) return Refuse(kOp, "weight must be f32, bf16 or f16");
  if (!IsRow(compute)) return Refuse(kOp, "compute must be f32 or bf16");
  if (bias && (bias.rank != 1 || bias.dims[0] != weight.dims[0] || !IsWeight(bias.dtype))) {
    return Refuse(kOp, absl::StrCat("bias must be f32, bf16 or f16 [", weight.dims[0], "]"));
  }
  if (absl::Status status =
          All({CheckInRange(kOp, "out_channels", weight.dims[0], 1, kFeaturesMax),
               CheckInRange(kOp, "in_channels", weight.dims[1], 1, kFeaturesMax),
               CheckInRange(kOp, "kernel", weight.dims[2], 1, kConvKernelMax),
               CheckInRange(kOp, "stride", stride, 1, kConvStrideMax),
               CheckInRange(kOp, "padding.top", padding.top, 0, kConvKernelMax),
               CheckInRange(kOp, "padding.left", padding.left, 0, kConvKernelMax),
               CheckInRange(kOp, "padding.bottom", padding.bottom, 0, kConvKernelMax),
               CheckInRange(kOp, "padding.right", padding.right, 0, kConvKernelMax)});
      !status.ok()) {
    return status;
  }
  return CheckInRange(kOp, "in_channels x kernel x kernel",
                      weight.dims[1] * weight.dims[2] * weight.dims[3], 1, kFeaturesMax);
}

namespace {

// A Linear's residual or factor, which may be its output.
absl::Status CheckBesideOut(const char* op, const char* name, const Tensor& tensor,
                            const LinearArgs& args, const PackedBatch& batch, int64_t out) {
  if (absl::Status status = CheckRows(op, name, tensor, {batch.capacity, out}); !status.ok()) {
    return status;
  }
  if (tensor.data != args.out.data) return absl::OkStatus();
  if (tensor.dtype != args.out.dtype) {
    return Refuse(op, absl::StrCat(name, " is out, so both must have one dtype"));
  }
  if (args.out_stride != 0 && args.out_stride != out) {
    return Refuse(op, absl::StrCat(name, " is out, so out_stride must be ", out));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckLinear(const LinearArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "Linear";
  if (absl::Status status = CheckBatch(kOp, batch); !status.ok()) return status;
  if (args.weight == nullptr) return Refuse(kOp, "weight is missing");
  const int64_t in = args.weight->in_features();
  const int64_t out = args.weight->out_features();
  if (absl::Status status = All({CheckRows(kOp, "x", args.x, {batch.capacity, in}),
                                 CheckRows(kOp, "out", args.out, {batch.capacity, out})});
      !status.ok()) {
    return status;
  }
  if (args.x.data == args.out.data) return Refuse(kOp, "out must not be x");
  if (args.out_stride != 0 && args.out_stride < out) {
    return Refuse(kOp, "out_stride is less than out_features");
  }
  if (args.residual) {
    if (absl::Status status = CheckBesideOut(kOp, "residual", args.residual, args, batch, out);
        !status.ok()) {
      return status;
    }
  }
  if (args.factor) {
    if (args.gate || args.residual) return Refuse(kOp, "factor goes not with gate or residual");
    return CheckBesideOut(kOp, "factor", args.factor, args, batch, out);
  }
  if (args.gate) {
    if (batch.row_to_sequence == nullptr) return Refuse(kOp, "batch.row_to_sequence is missing");
    if (args.gate_stride != 0 && args.gate_stride < out) {
      return Refuse(kOp, "gate_stride is less than out_features");
    }
    return CheckF32(kOp, "gate", args.gate, {batch.sequences_max, out});
  }
  return absl::OkStatus();
}

absl::Status CheckLayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "LayerNormModulate";
  if (absl::Status status = CheckBatch(kOp, batch); !status.ok()) return status;
  if (!args.x || args.x.rank != 2) return Refuse(kOp, "x must be [capacity, dim]");
  const int64_t dim = args.x.dims[1];
  if (absl::Status status = All({CheckInRange(kOp, "dim", dim, 1, kFeaturesMax),
                                 CheckRows(kOp, "x", args.x, {batch.capacity, dim}),
                                 CheckRows(kOp, "out", args.out, {batch.capacity, dim})});
      !status.ok()) {
    return status;
  }
  if (args.x.data == args.out.data && args.x.dtype != args.out.dtype) {
    return Refuse(kOp, "out is x, so both must have one dtype");
  }
  if (!(args.epsilon >= 0.0f)) return Refuse(kOp, "epsilon must not be negative");
  if (!args.shift && !args.scale) return absl::OkStatus();
  if (batch.row_to_sequence == nullptr) return Refuse(kOp, "batch.row_to_sequence is missing");
  if (args.modulation_stride != 0 && args.modulation_stride < dim) {
    return Refuse(kOp, "modulation_stride is less than dim");
  }
  if (args.shift) {
    if (absl::Status status = CheckF32(kOp, "shift", args.shift, {batch.sequences_max, dim});
        !status.ok()) {
      return status;
    }
  }
  return args.scale ? CheckF32(kOp, "scale", args.scale, {batch.sequences_max, dim})
                    : absl::OkStatus();
}

absl::Status CheckNorm(const NormArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "Norm";
  if (absl::Status status = CheckBatch(kOp, batch); !status.ok()) return status;
  if (!args.x || args.x.rank != 2) return Refuse(kOp, "x must be [capacity, dim]");
  const int64_t dim = args.x.dims[1];
  if (absl::Status status = All({CheckInRange(kOp, "dim", dim, 1, kFeaturesMax),
                                 CheckRows(kOp, "x", args.x, {batch.capacity, dim}),
                                 CheckF32(kOp, "weight", args.weight, {dim}),
                                 CheckRows(kOp, "out", args.out, {batch.capacity, dim})});
      !status.ok()) {
    return status;
  }
  if (args.x.data == args.out.data && args.x.dtype != args.out.dtype) {
    return Refuse(kOp, "out is x, so both must have one dtype");
  }
  if (!(args.epsilon >= 0.0f)) return Refuse(kOp, "epsilon must not be negative");
  return args.bias ? CheckF32(kOp, "bias", args.bias, {dim}) : absl::OkStatus();
}

absl::Status CheckQkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "QkNormRope";
  if (absl::Status status = CheckBatch(kOp, batch); !status.ok()) return status;
  if (!args.qkv || args.qkv.rank != 4 || args.qkv.dims[1] != 3) {
    return Refuse(kOp, "qkv must be [capacity, 3, heads, head_dim]");
  }
  const int64_t heads = args.qkv.dims[2];
  const int64_t head_dim = args.qkv.dims[3];
  if (absl::Status status =
          All({CheckInRange(kOp, "heads", heads, 1, kHeadsMax),
               CheckInRange(kOp, "head_dim", head_dim, 1, kHeadDimMax),
               CheckRows(kOp, "qkv", args.qkv, {batch.capacity, 3, heads, head_dim})});
      !status.ok()) {
    return status;
  }
  if (args.row_stride != 0 && args.row_stride < 3 * heads * head_dim) {
    return Refuse(kOp, "row_stride is less than 3 * heads * head_dim");
  }
  if (!(args.epsilon >= 0.0f)) return Refuse(kOp, "epsilon must not be negative");
  for (const auto& [name, weight] :
       {std::pair("q_weight", &args.q_weight), std::pair("k_weight", &args.k_weight)}) {
    if (!*weight) continue;
    if (absl::Status status = CheckF32(kOp, name, *weight, {head_dim}); !status.ok()) return status;
  }
  if (!args.cos && !args.sin) return absl::OkStatus();
  if (head_dim % 2 != 0) return Refuse(kOp, "head_dim must be even for a rotation");
  return All({CheckF32(kOp, "cos", args.cos, {batch.capacity, head_dim / 2}),
              CheckF32(kOp, "sin", args.sin, {batch.capacity, head_dim / 2})});
}

absl::Status CheckAttention(const AttentionArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "Attention";
  if (absl::Status status = CheckBatch(kOp, batch); !status.ok()) return status;
  if (batch.boundaries == nullptr || batch.live_sequences == nullptr) {
    return Refuse(kOp, "batch.boundaries or batch.live_sequences is missing");
  }
  if (!args.q || args.q.rank != 3) return Refuse(kOp, "q must be [capacity, heads, head_dim]");
  const int64_t heads = args.q.dims[1];
  const int64_t head_dim = args.q.dims[2];
  if (absl::Status status =
          All({CheckInRange(kOp, "heads", heads, 1, kHeadsMax),
               CheckInRange(kOp, "head_dim", head_dim, 1, kHeadDimMax),
               CheckRows(kOp, "q", args.q, {batch.capacity, heads, head_dim}),
               CheckRows(kOp, "k", args.k, {batch.capacity, heads, head_dim}),
               CheckRows(kOp, "v", args.v, {batch.capacity, heads, head_dim}),
               CheckRows(kOp, "out", args.out, {batch.capacity, heads, head_dim})});
      !status.ok()) {
    return status;
  }
  if (args.row_stride != 0 && args.row_stride < heads * head_dim) {
    return Refuse(kOp, "row_stride is less than heads * head_dim");
  }
  if (args.out_stride != 0 && args.out_stride < heads * head_dim) {
    return Refuse(kOp, "out_stride is less than heads * head_dim");
  }
  if (args.position_bias != nullptr &&
      (args.position_span < 1 || int64_t{args.position_span} > kRowsMax)) {
    return Refuse(
        kOp, absl::StrCat("position_span is ", args.position_span, ", must be 1 to ", kRowsMax));
  }
  if (args.out.data == args.q.data || args.out.data == args.k.data ||
      args.out.data == args.v.data) {
    return Refuse(kOp, "out must not be q, k or v");
  }
  if (!std::isfinite(args.scale)) return Refuse(kOp, "scale must be finite");
  return absl::OkStatus();
}

absl::Status CheckPatchify(const PatchifyArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "Patchify";
  if (absl::Status status =
          All({CheckBatch(kOp, batch), CheckInRange(kOp, "patch", args.patch, 1, kPatchMax)});
      !status.ok()) {
    return status;
  }
  if (args.views == nullptr) return Refuse(kOp, "views is missing");
  if (batch.boundaries == nullptr || batch.live_sequences == nullptr) {
    return Refuse(kOp, "batch.boundaries or batch.live_sequences is missing");
  }
  if (!args.tokens || args.tokens.rank != 2 ||
      args.tokens.dims[1] % (args.patch * args.patch) != 0) {
    return Refuse(kOp, "tokens must be [capacity, channels * patch * patch]");
  }
  return All({CheckInRange(kOp, "features", args.tokens.dims[1], 1, kFeaturesMax),
              CheckRows(kOp, "tokens", args.tokens, {batch.capacity, args.tokens.dims[1]})});
}

absl::Status CheckGatherRows(const GatherRowsArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "GatherRows";
  if (absl::Status status = CheckBatch(kOp, batch); !status.ok()) return status;
  if (args.sources == nullptr) return Refuse(kOp, "sources is missing");
  if (batch.boundaries == nullptr || batch.live_sequences == nullptr) {
    return Refuse(kOp, "batch.boundaries or batch.live_sequences is missing");
  }
  if (!args.out || args.out.rank != 2) return Refuse(kOp, "out must be [capacity, dim]");
  return All({CheckInRange(kOp, "dim", args.out.dims[1], 1, kFeaturesMax),
              CheckF32(kOp, "out", args.out, {batch.capacity, args.out.dims[1]})});
}

absl::Status CheckTimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "TimestepEmbedding";
  if (absl::Status status =
          CheckInRange(kOp, "sequences_max", batch.sequences_max, 1, kSequencesMax);
      !status.ok()) {
    return status;
  }
  if (args.timesteps == nullptr || batch.live_sequences == nullptr) {
    return Refuse(kOp, "timesteps or batch.live_sequences is missing");
  }
  if (!args.out || args.out.rank != 2) return Refuse(kOp, "out must be [sequences_max, dim]");
  const int64_t dim = args.out.dims[1];
  if (absl::Status status = All({CheckInRange(kOp, "dim", dim, 2, kFeaturesMax),
                                 CheckF32(kOp, "out", args.out, {batch.sequences_max, dim})});
      !status.ok()) {
    return status;
  }
  const int64_t half = dim / 2;
  if (!(static_cast<float>(half) > args.downscale_freq_shift)) {
    return Refuse(kOp, "downscale_freq_shift must be less than dim / 2");
  }
  if (!(args.max_period > 0.0f)) return Refuse(kOp, "max_period must be positive");
  return absl::OkStatus();
}

absl::Status CheckSamplerStep(const SamplerStepArgs& args) {
  constexpr char kOp[] = "SamplerStep";
  if (absl::Status status = All({CheckInRange(kOp, "jobs", args.jobs, 0, kJobsMax),
                                 CheckInRange(kOp, "patch", args.patch, 1, kPatchMax),
                                 CheckInRange(kOp, "model_channels", args.model_channels, 1,
                                              kFeaturesMax / (kPatchMax * kPatchMax))});
      !status.ok()) {
    return status;
  }
  if (args.jobs > 0 && args.updates == nullptr) return Refuse(kOp, "updates is missing");
  if (!args.model_output || args.model_output.rank != 2) {
    return Refuse(kOp, "model_output must be [capacity, patch * patch * model_channels]");
  }
  const int64_t rows = args.model_output.dims[0];
  return All({CheckInRange(kOp, "capacity", rows, 1, kRowsMax),
              CheckRows(kOp, "model_output", args.model_output,
                        {rows, int64_t{args.patch} * args.patch * args.model_channels})});
}

absl::Status CheckAdd(const Tensor& x, const Tensor& y, const Tensor& out) {
  constexpr char kOp[] = "Add";
  if (!x || !y || !out) return Refuse(kOp, "x, y or out is missing");
  if (!IsRow(x.dtype) || !IsRow(y.dtype) || !IsRow(out.dtype)) {
    return Refuse(kOp, "x, y and out must be f32 or bf16");
  }
  if (x.rank < 1 || out.rank != x.rank || out.dims != x.dims) {
    return Refuse(kOp, absl::StrCat("out is ", ShapeOf(out), ", must be ", ShapeOf(x)));
  }
  if (x.size() < 1 || y.rank < 1 || y.size() < 1 || y.dim(-1) != x.dim(-1)) {
    return Refuse(kOp, "x and y must have rows of one length");
  }
  if (x.data == out.data && x.dtype != out.dtype) {
    return Refuse(kOp, "out is x, so both must have one dtype");
  }
  return absl::OkStatus();
}

absl::Status CheckSilu(const Tensor& x, const Tensor& out) {
  constexpr char kOp[] = "Silu";
  if (!x || !out) return Refuse(kOp, "x or out is missing");
  if (!IsRow(x.dtype) || !IsRow(out.dtype)) return Refuse(kOp, "x and out must be f32 or bf16");
  if (x.rank < 1 || x.size() < 1 || out.rank != x.rank || out.dims != x.dims) {
    return Refuse(kOp, absl::StrCat("out is ", ShapeOf(out), ", must be ", ShapeOf(x)));
  }
  if (x.data == out.data && x.dtype != out.dtype) {
    return Refuse(kOp, "out is x, so both must have one dtype");
  }
  return absl::OkStatus();
}

absl::Status CheckConv2d(const Conv2dArgs& args, int64_t kernel, int stride,
                         const ConvPadding& padding) {
  constexpr char kOp[] = "Conv2d";
  if (absl::Status status = CheckImage(kOp, "x", args.x); !status.ok()) return status;
  if (args.x.dims[2] != args.weight->in_channels()) {
    return Refuse(kOp, absl::StrCat("x has ", args.x.dims[2], " channels, weight takes ",
                                    args.weight->in_channels()));
  }
  const int64_t height = args.x.dims[0] + padding.top + padding.bottom - kernel;
  const int64_t width = args.x.dims[1] + padding.left + padding.right - kernel;
  if (height < 0 || width < 0) return Refuse(kOp, "x is smaller than the kernel");
  const std::initializer_list<int64_t> shape = {height / stride + 1, width / stride + 1,
                                                args.weight->out_channels()};
  if (absl::Status status = CheckRows(kOp, "out", args.out, shape); !status.ok()) return status;
  if (args.x.data == args.out.data) return Refuse(kOp, "out must not be x");
  if (!args.residual) return absl::OkStatus();
  if (args.residual.data == args.out.data && args.residual.dtype != args.out.dtype) {
    return Refuse(kOp, "residual is out, so both must have one dtype");
  }
  return CheckRows(kOp, "residual", args.residual, shape);
}

absl::Status CheckGroupNorm(const GroupNormArgs& args) {
  constexpr char kOp[] = "GroupNorm";
  if (absl::Status status = CheckImage(kOp, "x", args.x); !status.ok()) return status;
  const auto& dims = args.x.dims;
  if (absl::Status status = All({CheckRows(kOp, "out", args.out, {dims[0], dims[1], dims[2]}),
                                 CheckF32(kOp, "gamma", args.gamma, {dims[2]}),
                                 CheckF32(kOp, "beta", args.beta, {dims[2]}),
                                 CheckInRange(kOp, "groups", args.groups, 1, dims[2])});
      !status.ok()) {
    return status;
  }
  if (dims[2] % args.groups != 0) return Refuse(kOp, "groups must divide the channels");
  if (!(args.epsilon >= 0.0f)) return Refuse(kOp, "epsilon must not be negative");
  if (args.x.data == args.out.data && args.x.dtype != args.out.dtype) {
    return Refuse(kOp, "out is x, so both must have one dtype");
  }
  return absl::OkStatus();
}

absl::Status CheckUpsample2x(const Tensor& x, const Tensor& out) {
  constexpr char kOp[] = "Upsample2x";
  if (absl::Status status = CheckImage(kOp, "x", x); !status.ok()) return status;
  if (out.dtype != x.dtype) return Refuse(kOp, "out must have x's dtype");
  return CheckRows(kOp, "out", out, {2 * x.dims[0], 2 * x.dims[1], x.dims[2]});
}

absl::Status CheckToPixels(const Tensor& x, const Tensor& out) {
  constexpr char kOp[] = "ToPixels";
  if (absl::Status status = CheckImage(kOp, "x", x); !status.ok()) return status;
  if (!out || out.dtype != DType::kU8 || out.rank != 3 || out.dims != x.dims) {
    return Refuse(kOp, absl::StrCat("out must be u8 ", ShapeOf(x)));
  }
  return absl::OkStatus();
}

}  // namespace darkroom
