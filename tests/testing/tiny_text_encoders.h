#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "testing/tiny_dit_model.h"

namespace darkroom::testing {

// Random tensors for a model's file.
class RandomTensors {
 public:
  explicit RandomTensors(uint32_t seed) : random_(seed) {}

  void Fill(const std::string& name, std::vector<int64_t> shape, float spread, float mean = 0) {
    int64_t count = 1;
    for (const int64_t dim : shape) count *= dim;
    std::uniform_real_distribution<float> values(mean - spread, mean + spread);
    std::vector<float> data(static_cast<size_t>(count));
    for (float& value : data) value = values(random_);
    tensors_[name] = {std::move(shape), std::move(data)};
  }
  void Linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    Fill(name + ".weight", {out, in}, 1.5f / std::sqrt(static_cast<float>(in)));
    if (bias) Fill(name + ".bias", {out}, 0.1f);
  }
  void Norm(const std::string& name, int64_t width, bool bias) {
    Fill(name + ".weight", {width}, 0.3f, 1.0f);
    if (bias) Fill(name + ".bias", {width}, 0.2f);
  }
  TensorMap Take() { return std::move(tensors_); }

 private:
  std::mt19937 random_;
  TensorMap tensors_;
};

// What a text encoder's folder holds.
struct TinyTextEncoder {
  nlohmann::json config;
  TensorMap tensors;

  void Write(const TempFolder& folder, const std::string& component) const {
    folder.Write(component + "/config.json", config.dump(2));
    folder.Write(component + "/model.safetensors", SafetensorsBytes(tensors));
  }
};

// 2 layers, 3 heads of 8, 50 tokens, the last of which ends a prompt.
inline TinyTextEncoder TinyClipTextEncoder() {
  const int64_t width = 24;
  const int64_t feed_forward = 40;
  RandomTensors random(7);
  random.Fill("text_model.embeddings.token_embedding.weight", {50, width}, 1.0f);
  random.Fill("text_model.embeddings.position_embedding.weight", {77, width}, 0.5f);
  for (int i = 0; i < 2; ++i) {
    const std::string layer = "text_model.encoder.layers." + std::to_string(i) + ".";
    random.Norm(layer + "layer_norm1", width, true);
    random.Norm(layer + "layer_norm2", width, true);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      random.Linear(layer + "self_attn." + name, width, width, true);
    }
    random.Linear(layer + "mlp.fc1", feed_forward, width, true);
    random.Linear(layer + "mlp.fc2", width, feed_forward, true);
  }
  random.Norm("text_model.final_layer_norm", width, true);
  return {.config = {{"architectures", {"CLIPTextModel"}},
                     {"model_type", "clip_text_model"},
                     {"hidden_size", width},
                     {"intermediate_size", feed_forward},
                     {"num_attention_heads", 3},
                     {"num_hidden_layers", 2},
                     {"max_position_embeddings", 77},
                     {"hidden_act", "quick_gelu"},
                     {"vocab_size", 50},
                     {"eos_token_id", 49}},
          .tensors = random.Take()};
}

// 2 layers, 2 heads of 8, 40 tokens, gated feed-forward.
inline TinyTextEncoder TinyT5Encoder() {
  const int64_t width = 24;
  const int64_t attention = 16;
  const int64_t feed_forward = 40;
  RandomTensors random(8);
  random.Fill("shared.weight", {40, width}, 1.0f);
  random.Fill("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", {32, 2},
              1.0f);
  for (int i = 0; i < 2; ++i) {
    const std::string block = "encoder.block." + std::to_string(i) + ".layer.";
    random.Norm(block + "0.layer_norm", width, false);
    random.Norm(block + "1.layer_norm", width, false);
    for (const char* name : {"q", "k", "v"}) {
      random.Linear(block + "0.SelfAttention." + name, attention, width, false);
    }
    random.Linear(block + "0.SelfAttention.o", width, attention, false);
    random.Linear(block + "1.DenseReluDense.wi_0", feed_forward, width, false);
    random.Linear(block + "1.DenseReluDense.wi_1", feed_forward, width, false);
    random.Linear(block + "1.DenseReluDense.wo", width, feed_forward, false);
  }
  random.Norm("encoder.final_layer_norm", width, false);
  return {.config = {{"architectures", {"T5EncoderModel"}},
                     {"model_type", "t5"},
                     {"d_model", width},
                     {"d_kv", 8},
                     {"d_ff", feed_forward},
                     {"num_heads", 2},
                     {"num_layers", 2},
                     {"vocab_size", 40},
                     {"feed_forward_proj", "gated-gelu"},
                     {"relative_attention_num_buckets", 32},
                     {"relative_attention_max_distance", 128}},
          .tensors = random.Take()};
}

}  // namespace darkroom::testing
