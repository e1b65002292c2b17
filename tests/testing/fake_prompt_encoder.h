#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "model/noise.h"
#include "model/prompt_encoder.h"

namespace darkroom::testing {

// Numbers that depend on the prompt and on how long it may be, and mean nothing.
class FakePromptEncoder : public PromptEncoder {
 public:
  FakePromptEncoder(int hidden_width, int pooled_width, int tokens_max)
      : hidden_width_(hidden_width), pooled_width_(pooled_width), tokens_max_(tokens_max) {}

  absl::Status Load(DType, Ops&, Stream&) override { return absl::OkStatus(); }
  int hidden_width() const override { return hidden_width_; }
  int pooled_width() const override { return pooled_width_; }
  int tokens_max() const override { return tokens_max_; }

  absl::StatusOr<std::shared_ptr<const PromptEmbedding>> Encode(uint64_t, std::string_view prompt,
                                                                int tokens, Stream&) override {
    ++encoded_;
    if (prompt == "too long") {
      return Error(absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG", "prompt is too long")
          .Field("prompt", "is too long");
    }
    auto embedding = std::make_shared<PromptEmbedding>();
    embedding->tokens = tokens;
    embedding->hidden.resize(static_cast<size_t>(tokens) * static_cast<size_t>(hidden_width_));
    embedding->pooled.resize(static_cast<size_t>(pooled_width_));
    NoiseGenerator generator(std::hash<std::string>()(absl::StrCat(std::string(prompt), tokens)));
    generator.Fill(DType::kF32, absl::MakeSpan(embedding->hidden));
    generator.Fill(DType::kF32, absl::MakeSpan(embedding->pooled));
    return embedding;
  }

  int encoded() const { return encoded_; }

 private:
  int hidden_width_;
  int pooled_width_;
  int tokens_max_;
  int encoded_ = 0;
};

}  // namespace darkroom::testing
