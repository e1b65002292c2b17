#include "evaluation/caption_scorer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "evaluation/limits.h"
#include "model/load_parts.h"
#include "model/model_error.h"
#include "model/model_folder.h"
#include "model/text_encoders/tokenizer_fit.h"
#include "model/tokenizers/clip_bpe.h"

namespace darkroom {
namespace {

using evaluation_limits::kReductionMax;

constexpr char kConfigFile[] = "config.json";
constexpr char kCaptionsFile[] = "captions.json";
constexpr char kTokenizer[] = "tokenizer";
// Where all features of a position are zero.
constexpr double kFeatureLengthMin = 1e-10;

float Dot(absl::Span<const float> a, absl::Span<const float> b) {
  return static_cast<float>(std::inner_product(a.begin(), a.end(), b.begin(), 0.0));
}

double Length(const float* features, int64_t channels) {
  return std::sqrt(std::inner_product(features, features + channels, features, 0.0)) +
         kFeatureLengthMin;
}

double LevelDistance(const ImageFeatures::Level& a, const ImageFeatures::Level& b) {
  double sum = 0;
  int64_t positions = 0;
  const auto channels = static_cast<size_t>(a.channels);
  for (size_t at = 0; at < a.values.size(); at += channels, ++positions) {
    const float* x = a.values.data() + at;
    const float* y = b.values.data() + at;
    const double x_length = Length(x, a.channels);
    const double y_length = Length(y, a.channels);
    for (size_t c = 0; c < channels; ++c) {
      const double difference = x[c] / x_length - y[c] / y_length;
      sum += difference * difference;
    }
  }
  return sum / static_cast<double>(positions);
}

// The mean of every block of pixels, in [-1, 1].
std::vector<float> Pixels(const RgbPicture& picture, int size) {
  const int factor = picture.width / size;
  std::vector<uint32_t> sums(size_t{3} * size * size, 0);
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      const uint8_t* pixel = &picture.rgb[3 * (size_t(y) * picture.width + x)];
      uint32_t* sum = &sums[3 * (size_t(y / factor) * size + x / factor)];
      for (int c = 0; c < 3; ++c) sum[c] += pixel[c];
    }
  }
  std::vector<float> values(sums.size());
  const double scale = 127.5 * factor * factor;
  std::transform(sums.begin(), sums.end(), values.begin(),
                 [scale](uint32_t sum) { return static_cast<float>(sum / scale - 1.0); });
  return values;
}

}  // namespace

CaptionScorer::CaptionScorer(const CaptionScorerConfig& config, Weights weights, Ops& ops)
    : config_(config),
      weights_(std::move(weights)),
      ops_(ops),
      stream_(ops.CreateStream()),
      image_(config_, weights_),
      text_(config_.text, weights_, "text."),
      text_projection_(weights_, "text_projection", config_.projection_dim, config_.text.width) {}

absl::Status CaptionScorer::Load() {
  absl::Status status = image_.Load(ops_, *stream_);
  if (status.ok()) status = text_.Load(DType::kF32, ops_, *stream_);
  if (status.ok()) status = text_projection_.Load(ops_, *stream_);
  if (!status.ok()) return status;
  std::vector<std::string> texts;
  for (const Caption& caption : captions_) texts.push_back(caption.text);
  absl::StatusOr<std::vector<std::vector<float>>> gallery = Read(texts);
  if (!gallery.ok()) return gallery.status();
  gallery_ = *std::move(gallery);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CaptionScorer>> CaptionScorer::Open(const std::string& path,
                                                                   Ops& ops) {
  absl::StatusOr<ModelFolder> folder = ModelFolder::Open(path, ModelFolder::kConfigFile);
  if (!folder.ok()) return folder.status();
  const auto config = ReadConfig(*folder, kConfigFile, &ReadCaptionScorerConfig);
  if (!config.ok()) return config.status();
  auto captions = ReadCaptions(*folder, kCaptionsFile);
  if (!captions.ok()) return captions.status();
  auto tokenizer = LoadClipTokenizer(*folder, kTokenizer);
  if (!tokenizer.ok()) return tokenizer.status();
  absl::StatusOr<Weights> weights = Weights::Open(*folder, "", kTransformersWeights);
  if (!weights.ok()) return weights.status();

  std::unique_ptr<CaptionScorer> scorer(new CaptionScorer(*config, *std::move(weights), ops));
  if (absl::Status status = scorer->weights_.Check(); !status.ok()) return status;
  absl::Status status =
      CheckVocabulary(**tokenizer, kTokenizer, scorer->text_, "config.json (text_config)");
  if (!status.ok()) return status;
  scorer->tokens_ = PaddedTokens(**tokenizer, scorer->text_);
  if (scorer->tokens_ < 2) {
    return ModelInvalid("config.json (text_config)",
                        "max_position_embeddings must be at least 2, the begin and the end");
  }
  if (scorer->image_.WorkspaceBytes() > evaluation_limits::kScorerWorkspaceBytesMax) {
    return ModelInvalid(kConfigFile,
                        absl::StrCat("a picture takes ", scorer->image_.WorkspaceBytes(),
                                     " bytes on its way through block_out_channels; at most ",
                                     evaluation_limits::kScorerWorkspaceBytesMax, " are allowed"));
  }
  scorer->tokenizer_ = *std::move(tokenizer);
  scorer->captions_ = *std::move(captions);
  for (const auto& file : scorer->weights_.files()) {
    folder->Use(*file, ModelFolder::Hash(*file, [](size_t) {}));
  }
  scorer->digest_ = folder->Digest();
  if (status = scorer->Load(); !status.ok()) return status;
  return scorer;
}

absl::Status CaptionScorer::CheckSize(int width, int height) const {
  const int size = config_.image_size;
  if (width == height && width > 0 && width % size == 0 && width / size <= kReductionMax) {
    return absl::OkStatus();
  }
  const int nearest = std::clamp((std::max(width, height) + size / 2) / size, 1, kReductionMax);
  return Error(absl::StatusCode::kInvalidArgument, "SCORER_SIZE_MISMATCH",
               absl::StrCat("the scorer looks at squares of ", size, " pixels, and at 2 to ",
                            kReductionMax, " times larger ones; the pictures are ", width, "x",
                            height, "; nearest: ", nearest * size, "x", nearest * size));
}

absl::StatusOr<ImageFeatures> CaptionScorer::Look(const RgbPicture& picture) {
  if (absl::Status status = CheckSize(picture.width, picture.height); !status.ok()) return status;
  return image_.Run(Pixels(picture, config_.image_size), *stream_);
}

absl::StatusOr<std::vector<std::vector<float>>> CaptionScorer::Read(
    absl::Span<const std::string> captions) {
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& caption : captions) {
    absl::StatusOr<std::vector<int32_t>> ids = tokenizer_->EncodeTo(caption, tokens_);
    if (!ids.ok()) return ids.status();
    prompts.push_back(*std::move(ids));
  }
  absl::StatusOr<std::vector<TextEmbedding>> encoded = text_.Encode(prompts, *stream_);
  if (!encoded.ok()) return encoded.status();
  std::vector<std::vector<float>> out;
  for (const TextEmbedding& embedding : *encoded) {
    absl::StatusOr<std::vector<float>> unit = text_projection_.Apply(embedding.pooled, *stream_);
    if (!unit.ok()) return unit.status();
    out.push_back(*std::move(unit));
  }
  return out;
}

std::vector<float> CaptionScorer::Score(const ImageFeatures& features) const {
  std::vector<float> scores;
  scores.reserve(gallery_.size());
  for (const std::vector<float>& caption : gallery_) {
    scores.push_back(Dot(features.embedding, caption));
  }
  return scores;
}

double PerceptualDistance(const ImageFeatures& a, const ImageFeatures& b) {
  double sum = 0;
  for (size_t i = 0; i < a.levels.size(); ++i) sum += LevelDistance(a.levels[i], b.levels[i]);
  return sum / static_cast<double>(a.levels.size());
}

}  // namespace darkroom
