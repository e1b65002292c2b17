#pragma once

#include <cstddef>
#include <cstdint>

// Every bound of the model layer. A model's folder is given by the operator, but it may be damaged,
// half copied or made by somebody else, so nothing in it is believed before it is checked.
namespace darkroom::model_limits {

// Files: bytes of a safetensors header, bytes and levels of a JSON file, shards of a component,
// bytes of a tensor's name, dimensions of a tensor.
inline constexpr size_t kSafetensorsHeaderBytesMax = size_t{8} << 20;
inline constexpr size_t kJsonBytesMax = size_t{32} << 20;
inline constexpr int kJsonDepthMax = 32;
inline constexpr int kShardsMax = 1024;
inline constexpr int kTensorNameBytesMax = 512;
inline constexpr int kTensorRankMax = 8;
// How far a README is read in search of its license.
inline constexpr size_t kFrontMatterBytesMax = 16 << 10;
// Bytes between two reports of progress, threads that read files, and how often what they have read
// is looked at.
inline constexpr size_t kHashChunkBytes = size_t{4} << 20;
inline constexpr size_t kHashThreadsMax = 16;
inline constexpr int kProgressMillis = 50;
// Problems of one kind (missing, extra, misshaped) that an error lists by name; it counts the rest.
inline constexpr int kProblemsListedMax = 256;
// Bytes of a wrong configuration value that an error shows.
inline constexpr size_t kShownBytesMax = 60;

// Classes of a class-conditional model, bytes of a label, and names suggested for an unknown one.
inline constexpr int kClassesMax = 100'000;
inline constexpr size_t kClassNameBytesMax = 1024;
inline constexpr int kNearestClasses = 3;

// Tokenizers: tokens of a vocabulary, merges, bytes of a token, added tokens, bytes of a
// SentencePiece model and of a merges.txt, T5's extra ids, and ids of a prompt that a tokenizer's
// configuration may allow.
inline constexpr int kVocabularyMax = 1 << 20;
inline constexpr int kTokenBytesMax = 1024;
inline constexpr int kAddedTokensMax = 4096;
inline constexpr size_t kSentencePieceBytesMax = size_t{32} << 20;
inline constexpr size_t kMergesBytesMax = size_t{32} << 20;
inline constexpr int kExtraIdsMax = 4096;
inline constexpr int kPromptTokensMax = 16'384;

// Shapes a configuration may ask for.
inline constexpr int kLayersMax = 512;
inline constexpr int kHeadsMax = 1024;
inline constexpr int kHeadDimMax = 1024;
inline constexpr int kChannelsMax = 16'384;
inline constexpr int kLatentChannelsMax = 256;
// Features of a token: a patch of 2 x 2 latents.
inline constexpr int64_t kTokenFeaturesMax = int64_t{4} * kLatentChannelsMax;
// Image tokens between which a schedule's shift is interpolated.
inline constexpr int64_t kImageTokensMax = int64_t{1} << 24;
inline constexpr int kPatchMax = 16;
inline constexpr int kSampleSizeMax = 1024;
inline constexpr int kAutoencoderBlocksMax = 8;
// Side of the pictures that an autoencoder says it was trained on.
inline constexpr int kTrainingSizePixelsMax = 1 << 20;
inline constexpr int kTrainTimestepsMax = 1'000'000;

// Text encoders: width of a feed-forward, relative position buckets and their farthest distance.
inline constexpr int kFeedForwardMax = 131'072;
inline constexpr int kPositionBucketsMax = 1024;
inline constexpr int kPositionDistanceMax = 1 << 20;
// Tokens of one prompt in T5, whose position biases know no end, and rows of one batch of prompts.
inline constexpr int kT5TokensMax = 512;
inline constexpr int64_t kTextRowsMax = 4096;
// Embeddings of prompts that a worker keeps for the next time; of T5-XXL at 512 tokens about 15
// fit.
inline constexpr size_t kEmbeddingCacheBytesMax = size_t{128} << 20;
inline constexpr size_t kEmbeddingCacheEntriesMax = 64;

// Jobs at once on one worker.
inline constexpr int kSlotsMax = 4096;
// What a request may ask for; a model may offer less.
inline constexpr int kStepsMax = 1000;
inline constexpr int kImagesMax = 16;
inline constexpr double kGuidanceScaleMin = 1.0;
inline constexpr double kGuidanceScaleMax = 30.0;
// The least share of an image that a folder may recommend to make anew; a request may ask for less.
inline constexpr double kDefaultStrengthMin = 0.01;
inline constexpr size_t kPromptBytesMax = 10'240;
// Width and height.
inline constexpr int kSizePixelsMax = 2048;
// Pictures may be this many times larger, or smaller, than those the model was trained on.
inline constexpr int kSizeOverNativeMax = 8;
inline constexpr int kSizeUnderNativeMax = 4;

// Device memory of a packed step and of a decoding. Sizes and the largest step are offered only as
// far as they fit.
inline constexpr size_t kStepWorkspaceBytesMax = size_t{8} << 30;
inline constexpr size_t kDecodeWorkspaceBytesMax = size_t{4} << 30;
// A packed step's rows and sequences are rounded up to multiples of these, so that few capacities
// occur.
inline constexpr int64_t kCapacityRows = 64;
inline constexpr int64_t kCapacityTextRows = 16;
inline constexpr int32_t kCapacitySequences = 8;
// An output or checkpoint larger than this leaves in a memfd.
inline constexpr size_t kInlineOutputBytesMax = 64 << 10;

}  // namespace darkroom::model_limits
