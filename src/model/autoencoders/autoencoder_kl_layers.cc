#include "model/autoencoders/autoencoder_kl_layers.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace darkroom::kl {
namespace {

constexpr float kNormEpsilon = 1e-6f;

// The tables of the one sequence: live rows, live sequences, two boundaries; then the
// row-to-sequence table, which is all zeros.
constexpr size_t kRowTable = 64;

size_t TablesBytes(int64_t tokens) {
  return kRowTable + static_cast<size_t>(tokens) * sizeof(int32_t);
}

}  // namespace

void Conv::Take(Weights& weights, const std::string& name, int64_t out, int64_t in,
                int64_t kernel_size) {
  kernel = kernel_size;
  weight_source = weights.Take(name + ".weight", {out, in, kernel, kernel});
  bias_source = weights.Take(name + ".bias", {out});
  padding = ConvPadding::All(static_cast<int>(kernel / 2));
}

absl::Status Conv::Load(Ops& ops) {
  absl::StatusOr<std::unique_ptr<ConvWeight>> packed =
      ops.PackConv(weight_source, bias_source, stride, padding, DType::kF32);
  if (!packed.ok()) return packed.status();
  weight = *std::move(packed);
  return absl::OkStatus();
}

void Norm::Take(Weights& weights, const std::string& name, int64_t channels) {
  gamma_source = weights.Take(name + ".weight", {channels});
  beta_source = weights.Take(name + ".bias", {channels});
}

absl::Status Norm::Load(Ops& ops, Stream& stream) {
  auto gamma_values = Upload(ops, ToFloat(gamma_source), stream);
  if (!gamma_values.ok()) return gamma_values.status();
  auto beta_values = Upload(ops, ToFloat(beta_source), stream);
  if (!beta_values.ok()) return beta_values.status();
  gamma = *std::move(gamma_values);
  beta = *std::move(beta_values);
  return absl::OkStatus();
}

void Resnet::Take(Weights& weights, const std::string& name, int64_t in, int64_t out) {
  norm1.Take(weights, name + ".norm1", in);
  conv1.Take(weights, name + ".conv1", out, in, 3);
  norm2.Take(weights, name + ".norm2", out);
  conv2.Take(weights, name + ".conv2", out, out, 3);
  if (in == out) return;
  shortcut = std::make_unique<Conv>();
  shortcut->Take(weights, name + ".conv_shortcut", out, in, 1);
}

absl::Status Resnet::Load(Ops& ops, Stream& stream) {
  absl::Status status = norm1.Load(ops, stream);
  if (status.ok()) status = conv1.Load(ops);
  if (status.ok()) status = norm2.Load(ops, stream);
  if (status.ok()) status = conv2.Load(ops);
  if (status.ok() && shortcut != nullptr) status = shortcut->Load(ops);
  return status;
}

void DownBlock::Take(Weights& weights, const std::string& name, int64_t in, int64_t out,
                     int resnet_count, bool downsampled) {
  resnets.resize(static_cast<size_t>(resnet_count));
  for (size_t i = 0; i < resnets.size(); ++i) {
    resnets[i].Take(weights, absl::StrCat(name, ".resnets.", i), i == 0 ? in : out, out);
  }
  if (!downsampled) return;
  downsampler = std::make_unique<Conv>();
  downsampler->Take(weights, name + ".downsamplers.0.conv", out, out, 3);
  downsampler->stride = 2;
  downsampler->padding = {.bottom = 1, .right = 1};
}

absl::Status DownBlock::Load(Ops& ops, Stream& stream) {
  absl::Status status;
  for (Resnet& resnet : resnets) {
    if (status.ok()) status = resnet.Load(ops, stream);
  }
  if (status.ok() && downsampler != nullptr) status = downsampler->Load(ops);
  return status;
}

void Attention::Take(Weights& weights, const std::string& name, int64_t channels) {
  norm.Take(weights, name + "group_norm", channels);
  const auto take = [&](const std::string& now, const std::string& old) {
    return LinearSource{
        weights.Take(name + now + ".weight", {channels, channels}, name + old + ".weight"),
        weights.Take(name + now + ".bias", {channels}, name + old + ".bias")};
  };
  q_source = take("to_q", "query");
  k_source = take("to_k", "key");
  v_source = take("to_v", "value");
  out_source = take("to_out.0", "proj_attn");
}

absl::Status Attention::Load(Ops& ops, Stream& stream) {
  if (absl::Status status = norm.Load(ops, stream); !status.ok()) return status;
  return PackAll({{&qkv, {q_source, k_source, v_source}}, {&out, {out_source}}}, DType::kF32, ops);
}

void MidBlock::Take(Weights& weights, const std::string& name, const AutoencoderKlConfig& config) {
  const int64_t channels = config.block_channels.back();
  first.Take(weights, name + ".resnets.0", channels, channels);
  if (config.mid_attention) {
    attention = std::make_unique<Attention>();
    attention->Take(weights, name + ".attentions.0.", channels);
  }
  last.Take(weights, name + ".resnets.1", channels, channels);
}

absl::Status MidBlock::Load(Ops& ops, Stream& stream) {
  absl::Status status = first.Load(ops, stream);
  if (status.ok() && attention != nullptr) status = attention->Load(ops, stream);
  if (status.ok()) status = last.Load(ops, stream);
  return status;
}

Canvas::Canvas(char* base, int64_t elements, int64_t tokens, int norm_groups)
    : tokens_(tokens), norm_groups_(norm_groups) {
  Layout layout(base);
  for (float*& buffer : buffers_) {
    buffer = static_cast<float*>(layout.At(layout.Take(Layout::FloatBytes(elements))));
  }
  tables_ = static_cast<char*>(layout.At(layout.Take(TablesBytes(tokens))));
  bytes_ = layout.size();
}

absl::Status Canvas::Begin(Ops& ops, Stream& stream, std::vector<char>& staging) {
  ops_ = &ops;
  stream_ = &stream;
  staging.assign(TablesBytes(tokens_), 0);
  const auto tokens = static_cast<int32_t>(tokens_);
  const int32_t counts[] = {tokens, 1, 0, tokens};
  std::copy(std::begin(counts), std::end(counts), reinterpret_cast<int32_t*>(staging.data()));
  const auto* device = reinterpret_cast<const int32_t*>(tables_);
  batch_ = {.capacity = tokens_,
            .sequences_max = 1,
            .live_rows = device,
            .live_sequences = device + 1,
            .boundaries = device + 2,
            .row_to_sequence = reinterpret_cast<const int32_t*>(tables_ + kRowTable)};
  return ops.CopyToDevice(tables_, staging.data(), staging.size(), stream);
}

void Canvas::Start(int64_t height, int64_t width, int64_t channels) {
  current_ = 0;
  picture_ = Tensor(buffers_[0], DType::kF32, {height, width, channels});
}

absl::Status Canvas::Apply(const Conv& conv) {
  const ConvPadding& padding = conv.padding;
  const auto size = [&](int64_t before, int begin, int end) {
    return (before + begin + end - conv.kernel) / conv.stride + 1;
  };
  const Tensor out = Spare(1, size(picture_.dim(0), padding.top, padding.bottom),
                           size(picture_.dim(1), padding.left, padding.right), conv.out_channels());
  absl::Status status =
      ops_->Conv2d({.x = picture_, .weight = conv.weight.get(), .out = out}, *stream_);
  if (status.ok()) Advance(1, out);
  return status;
}

absl::Status Canvas::Apply(const Norm& norm, bool silu) {
  const Tensor normed = Spare(1, picture_.dim(2));
  absl::Status status = Normalize(norm, silu, picture_, normed);
  if (status.ok()) Advance(1, normed);
  return status;
}

absl::Status Canvas::Normalize(const Norm& norm, bool silu, const Tensor& x, const Tensor& out) {
  const int64_t channels = x.dim(2);
  return ops_->GroupNorm({.x = x,
                          .gamma = Tensor(norm.gamma->data(), DType::kF32, {channels}),
                          .beta = Tensor(norm.beta->data(), DType::kF32, {channels}),
                          .groups = norm_groups_,
                          .epsilon = kNormEpsilon,
                          .silu = silu,
                          .out = out},
                         *stream_);
}

absl::Status Canvas::Apply(const Resnet& resnet) {
  const int64_t channels = resnet.conv1.out_channels();
  const Tensor normed = Spare(1, picture_.dim(2));
  const Tensor hidden = Spare(2, channels);
  absl::Status status = Normalize(resnet.norm1, /*silu=*/true, picture_, normed);
  if (!status.ok()) return status;
  status =
      ops_->Conv2d({.x = normed, .weight = resnet.conv1.weight.get(), .out = hidden}, *stream_);
  if (!status.ok()) return status;
  const Tensor normed_again = Spare(1, channels);
  status = Normalize(resnet.norm2, /*silu=*/true, hidden, normed_again);
  if (!status.ok()) return status;

  if (resnet.shortcut == nullptr) {
    status = ops_->Conv2d({.x = normed_again,
                           .weight = resnet.conv2.weight.get(),
                           .residual = picture_,
                           .out = hidden},
                          *stream_);
    if (status.ok()) Advance(2, hidden);
    return status;
  }
  status = ops_->Conv2d({.x = picture_, .weight = resnet.shortcut->weight.get(), .out = hidden},
                        *stream_);
  if (!status.ok()) return status;
  const Tensor out = Spare(0, channels);
  status = ops_->Conv2d(
      {.x = normed_again, .weight = resnet.conv2.weight.get(), .residual = hidden, .out = out},
      *stream_);
  if (status.ok()) Advance(0, out);
  return status;
}

absl::Status Canvas::Apply(const Attention& attention) {
  const int64_t channels = picture_.dim(2);
  const int64_t tokens = picture_.dim(0) * picture_.dim(1);
  const auto rows = [tokens](const Tensor& picture, int64_t columns) {
    return Tensor(picture.data, DType::kF32, {tokens, columns});
  };
  const Tensor normed = Spare(1, channels);
  const Tensor qkv = rows(Spare(2, 3 * channels), 3 * channels);
  absl::Status status = Normalize(attention.norm, /*silu=*/false, picture_, normed);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = rows(normed, channels), .weight = attention.qkv.get(), .out = qkv},
                        batch_, *stream_);
  if (!status.ok()) return status;
  // A single head as wide as the picture has channels.
  const auto head = [&](float* first) { return Tensor(first, DType::kF32, {tokens, 1, channels}); };
  const Tensor attended = Spare(1, channels);
  status =
      ops_->Attention({.q = head(qkv.as<float>()),
                       .k = head(qkv.as<float>() + channels),
                       .v = head(qkv.as<float>() + 2 * channels),
                       .row_stride = 3 * channels,
                       .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(channels))),
                       .out = head(attended.as<float>())},
                      batch_, *stream_);
  if (!status.ok()) return status;
  return ops_->Linear({.x = rows(attended, channels),
                       .weight = attention.out.get(),
                       .residual = rows(picture_, channels),
                       .out = rows(picture_, channels)},
                      batch_, *stream_);
}

absl::Status Canvas::Apply(const MidBlock& block) {
  absl::Status status = Apply(block.first);
  if (status.ok() && block.attention != nullptr) status = Apply(*block.attention);
  if (status.ok()) status = Apply(block.last);
  return status;
}

absl::Status Canvas::Upsample() {
  const Tensor larger = Spare(1, 2 * picture_.dim(0), 2 * picture_.dim(1), picture_.dim(2));
  absl::Status status = ops_->Upsample2x(picture_, larger, *stream_);
  if (status.ok()) Advance(1, larger);
  return status;
}

}  // namespace darkroom::kl
