#include "evaluation/image_tower.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace darkroom {
namespace {

constexpr int64_t kPixelChannels = CaptionScorerConfig::kPixelChannels;

// Numbers of the largest intermediate picture.
int64_t BufferElements(const CaptionScorerConfig& config) {
  int64_t pixels = int64_t{config.image_size} * config.image_size;
  int64_t before = std::max<int64_t>(kPixelChannels, config.block_channels.front());
  int64_t largest = 0;
  for (const int channels : config.block_channels) {
    largest = std::max(largest, pixels * std::max<int64_t>(before, channels));
    pixels /= 4;
    before = channels;
  }
  return largest;
}

}  // namespace

ImageTower::ImageTower(const CaptionScorerConfig& config, Weights& weights)
    : config_(config),
      projection_(weights, "image.projection", config.projection_dim,
                  config.block_channels.back()) {
  int64_t before = config.block_channels.front();
  conv_in_.Take(weights, "image.conv_in", before, kPixelChannels, 3);
  const size_t levels = config.block_channels.size();
  down_blocks_.resize(levels);
  for (size_t i = 0; i < levels; ++i) {
    const int64_t channels = config.block_channels[i];
    down_blocks_[i].Take(weights, absl::StrCat("image.down_blocks.", i), before, channels,
                         config.layers_per_block, /*downsampled=*/i + 1 < levels);
    before = channels;
  }
  norm_out_.Take(weights, "image.norm_out", before);
}

// Attention is never applied: one token stands for none.
kl::Canvas ImageTower::MakeCanvas(char* base) const {
  return kl::Canvas(base, BufferElements(config_), /*tokens=*/1, config_.norm_groups);
}

size_t ImageTower::WorkspaceBytes() const { return MakeCanvas(nullptr).bytes(); }

absl::Status ImageTower::Load(Ops& ops, Stream& stream) {
  ops_ = &ops;
  workspace_ = std::make_unique<Workspace>(ops);
  absl::Status status = workspace_->Reserve(WorkspaceBytes()).status();
  if (status.ok()) status = conv_in_.Load(ops);
  for (kl::DownBlock& block : down_blocks_) {
    if (status.ok()) status = block.Load(ops, stream);
  }
  if (status.ok()) status = norm_out_.Load(ops, stream);
  if (status.ok()) status = projection_.Load(ops, stream);
  return status;
}

absl::Status ImageTower::Read(const Tensor& tensor, std::vector<float>& values,
                              Stream& stream) const {
  values.resize(static_cast<size_t>(tensor.size()));
  absl::Status status = ops_->CopyToHost(values.data(), tensor.data, tensor.bytes(), stream);
  return status.ok() ? stream.Synchronize() : status;
}

absl::Status ImageTower::RunLevels(kl::Canvas& canvas, ImageFeatures& features,
                                   Stream& stream) const {
  absl::Status status = canvas.Apply(conv_in_);
  for (const kl::DownBlock& block : down_blocks_) {
    for (const kl::Resnet& resnet : block.resnets) {
      if (status.ok()) status = canvas.Apply(resnet);
    }
    if (!status.ok()) return status;
    ImageFeatures::Level& level = features.levels.emplace_back();
    level.channels = canvas.picture().dim(2);
    status = Read(canvas.picture(), level.values, stream);
    if (status.ok() && block.downsampler != nullptr) status = canvas.Apply(*block.downsampler);
  }
  if (status.ok()) status = canvas.Apply(norm_out_, /*silu=*/true);
  return status;
}

absl::StatusOr<ImageFeatures> ImageTower::Run(absl::Span<const float> pixels, Stream& stream) {
  absl::StatusOr<char*> base = workspace_->Reserve(WorkspaceBytes());
  if (!base.ok()) return base.status();
  kl::Canvas canvas = MakeCanvas(*base);
  absl::Status status = canvas.Begin(*ops_, stream, tables_staging_);
  if (!status.ok()) return status;
  canvas.Start(config_.image_size, config_.image_size, kPixelChannels);
  status =
      ops_->CopyToDevice(canvas.picture().data, pixels.data(), canvas.picture().bytes(), stream);
  ImageFeatures features;
  if (status.ok()) status = RunLevels(canvas, features, stream);
  std::vector<float> last;
  if (status.ok()) status = Read(canvas.picture(), last, stream);
  if (!status.ok()) return status;

  const auto channels = static_cast<size_t>(config_.block_channels.back());
  std::vector<double> sums(channels, 0.0);
  for (size_t i = 0; i < last.size(); ++i) sums[i % channels] += last[i];
  const auto positions = static_cast<double>(last.size() / channels);
  std::vector<float> means(channels);
  std::transform(sums.begin(), sums.end(), means.begin(),
                 [positions](double sum) { return static_cast<float>(sum / positions); });
  absl::StatusOr<std::vector<float>> embedding = projection_.Apply(means, stream);
  if (!embedding.ok()) return embedding.status();
  features.embedding = *std::move(embedding);
  return features;
}

}  // namespace darkroom
