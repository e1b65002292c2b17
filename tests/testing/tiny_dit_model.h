#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "testing/temp_folder.h"

namespace darkroom::testing {

// Tensors on the way into a safetensors file; f32.
using TensorMap = std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>>;

// The bytes of a safetensors file.
inline std::string SafetensorsBytes(const TensorMap& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.second.data()),
                tensor.second.size() * sizeof(float));
    header[name] = {
        {"dtype", "F32"}, {"shape", tensor.first}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  uint64_t length = text.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + text + data;
}

// A random DiT pipeline in diffusers layout, with every part a real one has, small enough for the
// reference ops. Change what a test wants changed, then Write.
struct TinyDitModel {
  int64_t heads = 2;
  int64_t head_dim = 8;
  int64_t layers = 2;
  int64_t patch = 2;
  int64_t sample_size = 8;
  int64_t classes = 5;
  int64_t channels = 4;
  bool learned_sigma = true;
  std::vector<int64_t> vae_channels = {8, 16};
  int64_t vae_groups = 4;
  bool mid_attention = true;
  uint32_t seed = 1;

  nlohmann::ordered_json index;
  nlohmann::ordered_json transformer_config;
  nlohmann::ordered_json vae_config;
  nlohmann::ordered_json scheduler_config;
  TensorMap transformer;
  TensorMap vae;

  // Fills the configurations and tensors from the fields above.
  TinyDitModel& Build() {
    random_.seed(seed);
    BuildConfigs();
    BuildTransformer();
    BuildVae();
    return *this;
  }

  void Write(const TempFolder& folder) const {
    folder.Write("model_index.json", index.dump(2));
    folder.Write("transformer/config.json", transformer_config.dump(2));
    folder.Write("vae/config.json", vae_config.dump(2));
    folder.Write("scheduler/scheduler_config.json", scheduler_config.dump(2));
    folder.Write("transformer/diffusion_pytorch_model.safetensors", SafetensorsBytes(transformer));
    folder.Write("vae/diffusion_pytorch_model.safetensors", SafetensorsBytes(vae));
  }

 private:
  void BuildConfigs() {
    index = {{"_class_name", "DiTPipeline"},
             {"_diffusers_version", "0.30.0"},
             {"id2label",
              {{"0", "tench, Tinca tinca"},
               {"1", "goldfish"},
               {"2", "white shark"},
               {"3", "hen"},
               {"4", "Great Grey Owl"}}},
             {"scheduler", {"diffusers", "DDIMScheduler"}},
             {"transformer", {"diffusers", "DiTTransformer2DModel"}},
             {"vae", {"diffusers", "AutoencoderKL"}}};
    transformer_config = {{"_class_name", "DiTTransformer2DModel"},
                          {"activation_fn", "gelu-approximate"},
                          {"attention_bias", true},
                          {"attention_head_dim", head_dim},
                          {"dropout", 0.0},
                          {"in_channels", channels},
                          {"norm_elementwise_affine", false},
                          {"norm_eps", 1e-5},
                          {"norm_num_groups", 32},
                          {"norm_type", "ada_norm_zero"},
                          {"num_attention_heads", heads},
                          {"num_embeds_ada_norm", classes},
                          {"num_layers", layers},
                          {"out_channels", channels * (learned_sigma ? 2 : 1)},
                          {"patch_size", patch},
                          {"sample_size", sample_size},
                          {"upcast_attention", false}};
    std::vector<std::string> up(vae_channels.size(), "UpDecoderBlock2D");
    std::vector<std::string> down(vae_channels.size(), "DownEncoderBlock2D");
    vae_config = {{"_class_name", "AutoencoderKL"},
                  {"act_fn", "silu"},
                  {"block_out_channels", vae_channels},
                  {"down_block_types", down},
                  {"in_channels", 3},
                  {"latent_channels", channels},
                  {"layers_per_block", 1},
                  {"mid_block_add_attention", mid_attention},
                  {"norm_num_groups", vae_groups},
                  {"out_channels", 3},
                  {"sample_size", 16},
                  {"scaling_factor", 0.5},
                  {"up_block_types", up}};
    scheduler_config = {{"_class_name", "DDIMScheduler"},
                        {"beta_end", 0.02},
                        {"beta_schedule", "linear"},
                        {"beta_start", 0.0001},
                        {"clip_sample", false},
                        {"num_train_timesteps", 1000},
                        {"prediction_type", "v_prediction"},
                        {"set_alpha_to_one", true},
                        {"steps_offset", 0},
                        {"trained_betas", nullptr}};
  }

  void Random(TensorMap& map, const std::string& name, std::vector<int64_t> shape, float spread,
              float mean = 0) {
    int64_t count = 1;
    for (const int64_t dim : shape) count *= dim;
    std::uniform_real_distribution<float> values(mean - spread, mean + spread);
    std::vector<float> data(static_cast<size_t>(count));
    for (float& value : data) value = values(random_);
    map[name] = {std::move(shape), std::move(data)};
  }
  void Linear(TensorMap& map, const std::string& name, int64_t out, int64_t in) {
    Random(map, name + ".weight", {out, in}, 1.5f / std::sqrt(static_cast<float>(in)));
    Random(map, name + ".bias", {out}, 0.1f);
  }
  void Norm(TensorMap& map, const std::string& name, int64_t size) {
    Random(map, name + ".weight", {size}, 0.3f, 1.0f);
    Random(map, name + ".bias", {size}, 0.2f);
  }
  void Conv(TensorMap& map, const std::string& name, int64_t out, int64_t in, int64_t kernel) {
    const float spread = 1.5f / std::sqrt(static_cast<float>(in * kernel * kernel));
    Random(map, name + ".weight", {out, in, kernel, kernel}, spread);
    Random(map, name + ".bias", {out}, 0.1f);
  }

  void BuildTransformer() {
    const int64_t dim = heads * head_dim;
    transformer.clear();
    Conv(transformer, "pos_embed.proj", dim, channels, patch);
    for (int64_t i = 0; i < layers; ++i) {
      const std::string block = "transformer_blocks." + std::to_string(i) + ".";
      Linear(transformer, block + "norm1.emb.timestep_embedder.linear_1", dim, 256);
      Linear(transformer, block + "norm1.emb.timestep_embedder.linear_2", dim, dim);
      Random(transformer, block + "norm1.emb.class_embedder.embedding_table.weight",
             {classes + 1, dim}, 1.0f);
      Linear(transformer, block + "norm1.linear", 6 * dim, dim);
      for (const char* name : {"attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"}) {
        Linear(transformer, block + name, dim, dim);
      }
      Linear(transformer, block + "ff.net.0.proj", 4 * dim, dim);
      Linear(transformer, block + "ff.net.2", dim, 4 * dim);
    }
    Linear(transformer, "proj_out_1", 2 * dim, dim);
    Linear(transformer, "proj_out_2", patch * patch * channels * (learned_sigma ? 2 : 1), dim);
  }

  void Resnet(const std::string& name, int64_t in, int64_t out) {
    Norm(vae, name + ".norm1", in);
    Conv(vae, name + ".conv1", out, in, 3);
    Norm(vae, name + ".norm2", out);
    Conv(vae, name + ".conv2", out, out, 3);
    if (in != out) Conv(vae, name + ".conv_shortcut", out, in, 1);
  }

  void BuildVae() {
    vae.clear();
    const int64_t top = vae_channels.back();
    Conv(vae, "post_quant_conv", channels, channels, 1);
    Conv(vae, "decoder.conv_in", top, channels, 3);
    Resnet("decoder.mid_block.resnets.0", top, top);
    Resnet("decoder.mid_block.resnets.1", top, top);
    if (mid_attention) {
      const std::string attention = "decoder.mid_block.attentions.0.";
      Norm(vae, attention + "group_norm", top);
      for (const char* name : {"to_q", "to_k", "to_v", "to_out.0"}) {
        Linear(vae, attention + name, top, top);
      }
    }
    int64_t before = top;
    for (size_t i = 0; i < vae_channels.size(); ++i) {
      const int64_t now = vae_channels[vae_channels.size() - 1 - i];
      const std::string block = "decoder.up_blocks." + std::to_string(i);
      Resnet(block + ".resnets.0", before, now);
      Resnet(block + ".resnets.1", now, now);
      if (i + 1 < vae_channels.size()) Conv(vae, block + ".upsamplers.0.conv", now, now, 3);
      before = now;
    }
    Norm(vae, "decoder.conv_norm_out", before);
    Conv(vae, "decoder.conv_out", 3, before, 3);
    // Of the encoder, which is not loaded.
    Conv(vae, "quant_conv", 2 * channels, 2 * channels, 1);
    Conv(vae, "encoder.conv_in", vae_channels.front(), 3, 3);
  }

  std::mt19937 random_;
};

}  // namespace darkroom::testing
