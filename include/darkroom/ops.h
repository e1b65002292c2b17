#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/packed_batch.h"
#include "darkroom/payload.h"
#include "darkroom/tensor.h"

namespace darkroom {

// An ordered queue of work on one device. Ops are asynchronous with respect to the caller unless
// the backend says otherwise (the CPU's run at once).
class Stream {
 public:
  virtual ~Stream() = default;
  virtual absl::Status Synchronize() = 0;
};

// Move-only owner of device memory, 64-byte aligned, zeroed when made.
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  virtual void* data() = 0;
  virtual size_t size() const = 0;
};

// A weight matrix packed once in the backend's best layout.
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
};

// A model's packed weights where other processes can map them.
struct SharedWeights {
  // Which machine and versions they were packed on, and a hash of the calls that packed them.
  std::string layout;
  std::vector<Payload> segments;  // sealed memfds
};

class ConvWeight {
 public:
  virtual ~ConvWeight() = default;
  virtual int64_t in_channels() const = 0;
  virtual int64_t out_channels() const = 0;
};

// Rows of a weight matrix, in host memory, f32, bf16 or f16, aligned or not: some of a fused
// projection's, or all.
struct LinearPart {
  Tensor weight;  // [out of this part, in]
  Tensor bias;    // [out of this part] or none
};

// What an adapter (LoRA) adds to one part of a fused projection, or to all of it: x becomes x W^T +
// scale * (x down^T) up^T there. In host memory, f32, bf16 or f16, aligned or not.
struct AdapterPart {
  Tensor down;         // [rank, in of the weight], or none: this part stays as it is
  Tensor up;           // [out of this part, rank]
  float scale = 1.0f;  // its alpha / rank; multiplied into `up` before that is rounded
};

// Zeros around an image, per side.
struct ConvPadding {
  int top = 0;
  int left = 0;
  int bottom = 0;
  int right = 0;
  static constexpr ConvPadding All(int n) { return {n, n, n, n}; }
};

// kQuickGelu: x * sigmoid(1.702 x).
enum class Activation { kNone, kGeluTanh, kGelu, kSilu, kQuickGelu, kRelu };

// out[r] = act(x[r] W^T + bias); with `gate` or `residual`: out[r] = residual[r] + gate[seq(r)] *
// that; with `factor`: out[r] = factor[r] * that.
// Rows are independent: a row's bits never depend on which or how many others are in the batch.
// Adapters of the batch are applied here, before bias and activation: those that BindAdapter gave
// the weight.
struct LinearArgs {
  Tensor x;  // [capacity, in_features]
  const LinearWeight* weight = nullptr;
  Activation activation = Activation::kNone;
  Tensor residual;          // [capacity, out_features] or none; may be `out`
  Tensor gate;              // f32 [sequences_max, out_features], or none: gate 1
  int64_t gate_stride = 0;  // elements between sequences' gates; 0: out_features
  Tensor factor;            // [capacity, out_features] or none; not with gate or residual; may be
                            // `out`
  Tensor out;               // [capacity, out_features]
  int64_t out_stride = 0;   // elements between rows of `out`; 0: out_features. Where `out` is
                            // residual or factor too, it is dense.
};

// out[r] = layer_norm(x[r]) * (1 + scale[seq(r)]) + shift[seq(r)], over the last dimension, without
// learned affine. Without shift and scale: plain normalization.
struct LayerNormModulateArgs {
  Tensor x;                       // [capacity, dim]
  Tensor shift;                   // f32 [sequences_max, dim] or none
  Tensor scale;                   // f32 [sequences_max, dim] or none
  int64_t modulation_stride = 0;  // elements between sequences' rows; 0: dim
  float epsilon = 1e-6f;
  Tensor out;  // [capacity, dim]
};

// out[r] = norm(x[r]) * weight + bias over the last dimension, with what the model learned. norm is
// (x - mean) / sqrt(variance + epsilon), or with `rms` x / sqrt(mean(x^2) + epsilon).
struct NormArgs {
  Tensor x;       // [capacity, dim]
  Tensor weight;  // f32 [dim]
  Tensor bias;    // f32 [dim] or none
  float epsilon = 1e-6f;
  bool rms = false;
  Tensor out;  // [capacity, dim]; may be `x`
};

// In place on queries and keys, before attention: each head's q and k become q / sqrt(mean(q^2) +
// epsilon) * weight, then neighbouring pairs (x0, x1) are turned by their row's angles: (x0 cos -
// x1 sin, x1 cos + x0 sin). Either half of it may be left out. v is not touched.
struct QkNormRopeArgs {
  Tensor qkv;              // [capacity, 3, heads, head_dim]
  int64_t row_stride = 0;  // elements between rows of qkv; 0: 3 * heads * head_dim
  Tensor q_weight;         // f32 [head_dim], or none: q is not normalised
  Tensor k_weight;         // f32 [head_dim], or none: k is not normalised
  float epsilon = 1e-6f;
  Tensor cos;  // f32 [capacity, head_dim / 2], or none with sin: no rotation
  Tensor sin;  // the same
};

// Softmax(Q K^T * scale + position bias) V within each sequence, all heads, never storing the
// scores. Work is split per sequence in a fixed way, so that bits do not depend on batch-mates. A
// sequence is one run of rows or two (PackedBatch::prefix_boundaries), and its rows are counted
// from 0 through both; every row of it attends to every other, or with `causal` to those up to its
// own.
struct AttentionArgs {
  Tensor q;                // [capacity, heads, head_dim]
  Tensor k;                // the same
  Tensor v;                // the same
  int64_t row_stride = 0;  // elements between rows of q, k and v; 0: heads * head_dim
  float scale = 1.0f;
  bool causal = false;
  // Device, f32 [heads, 2 * position_span - 1], or null. Entry [head][j - i + position_span - 1] is
  // added to the scaled score of query i and key j. No live sequence may be longer than the span.
  const float* position_bias = nullptr;
  int32_t position_span = 0;
  Tensor out;              // [capacity, heads, head_dim]
  int64_t out_stride = 0;  // elements between rows of `out`; 0: heads * head_dim
};

// One image's latents, or one job's, in a table in device memory.
struct LatentView {
  float* data = nullptr;  // [channels, height, width]
  int32_t channels = 0;
  int32_t height = 0;
  int32_t width = 0;
  int32_t pad = 0;
};

// tokens[r] = the patch of its sequence's latents: sequence s reads views[s]; token (i, j) at row
// boundaries[s] + i * (width / patch) + j; features in (channel, y, x) order.
struct PatchifyArgs {
  const LatentView* views = nullptr;  // device, [sequences_max]
  int32_t patch = 2;
  Tensor tokens;  // [capacity, channels * patch * patch]
};

// out[boundaries[s] + i] = sources[s][i]: per-job rows stay where the job keeps them, and only a
// table changes from step to step. `out`'s rows outside the sequences are not written.
struct GatherRowsArgs {
  // Device, [sequences_max]: f32 [rows of the sequence, dim] each, anywhere in device memory. May
  // be null for a sequence without rows.
  const float* const* sources = nullptr;
  Tensor out;  // f32 [capacity, dim]
};

// Sinusoidal embedding of timesteps as diffusers' Timesteps makes it.
struct TimestepEmbeddingArgs {
  const float* timesteps = nullptr;  // device, [sequences_max]
  float downscale_freq_shift = 0.0f;
  bool flip_sin_to_cos = true;  // cosines first
  float max_period = 10000.0f;
  Tensor out;  // f32 [sequences_max, dim]
};

// One job's sampler update. Every supported sampler's step is linear in the sample x, the guided
// model output m and a kept history value: latents = sample*x + model*m + history_in*h; with
// `history`, h = history_sample*x + history_model*m is kept for the next step.
//
// Inpainting, after the step: latents = mask*latents + (1 - mask)*(known_weight*known +
// noise_weight*noise). Preview: denoised = denoised_sample*x + denoised_model*m.
struct SamplerUpdate {
  LatentView latents;              // read and written
  float* history = nullptr;        // [channels, height, width] or null
  int32_t conditional_row = 0;     // first row of the branch in the packed model output
  int32_t unconditional_row = -1;  // -1: no guidance
  float guidance = 1.0f;           // m = u + guidance * (c - u)
  float sample = 1.0f, model = 0.0f, history_in = 0.0f;
  float history_sample = 0.0f, history_model = 0.0f;  // used when `history` is not null

  const float* mask = nullptr;   // [height, width], 1 = painted anew; or null: all of it
  const float* known = nullptr;  // [channels, height, width], what is kept; with `mask`
  const float* noise = nullptr;  // the same, or null: none is added
  float* denoised = nullptr;     // [channels, height, width], written; or null
  float known_weight = 0.0f, noise_weight = 0.0f;
  float denoised_sample = 0.0f, denoised_model = 0.0f;
};

// Un-patches the packed model output, applies guidance and the sampler's step.
struct SamplerStepArgs {
  const SamplerUpdate* updates = nullptr;  // device, [jobs]
  int32_t jobs = 0;
  int32_t patch = 2;
  // Features of a token are (y, x, channel) when true, (channel, y, x) when false. Channels beyond
  // the latents' (learned variance) are ignored.
  bool channels_last = true;
  int32_t model_channels = 0;
  Tensor model_output;  // [capacity, patch * patch * model_channels]
};

// Autoencoder ops work on one image, channels last: x is [height, width, channels].
struct Conv2dArgs {
  Tensor x;
  const ConvWeight* weight = nullptr;
  Tensor residual;  // added to the result; none or the shape of `out`
  Tensor out;
};

struct GroupNormArgs {
  Tensor x;      // [height, width, channels]
  Tensor gamma;  // f32 [channels]
  Tensor beta;   // f32 [channels]
  int32_t groups = 32;
  float epsilon = 1e-6f;
  bool silu = false;
  Tensor out;
};

// The op contract: what models are written against, one implementation per backend. Errors are
// programmers' errors or the device's; shapes are checked.
//
// Thread: one at a time per stream. No op allocates after warm-up: scratch comes from a workspace
// that the backend grows while the largest shapes run once.
class Ops {
 public:
  virtual ~Ops() = default;

  // "cpu avx512_core_bf16, 2 threads"
  virtual std::string DeviceName() const = 0;
  // Instruction set or architecture that decides bits: "avx512_core_bf16", "sm_90a".
  virtual std::string Isa() const = 0;
  // Name and version of each library that decides bits.
  virtual std::string Libraries() const = 0;
  // Whether matrices can be packed to be multiplied in this type.
  virtual bool Supports(DType dtype) const = 0;

  virtual absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) = 0;
  virtual std::unique_ptr<Stream> CreateStream() = 0;
  virtual absl::Status CopyToDevice(void* device, const void* host, size_t bytes,
                                    Stream& stream) = 0;
  virtual absl::Status CopyToHost(void* host, const void* device, size_t bytes, Stream& stream) = 0;
  // Between two places in device memory that do not overlap.
  virtual absl::Status CopyOnDevice(void* to, const void* from, size_t bytes, Stream& stream) = 0;

  // What is packed from here until EndWeights lies in memory that other processes can map. With
  // `shared`, which another process's EndWeights gave, the same calls in the same order find it
  // there and read nothing of their arguments but shapes and dtypes. FAILED_PRECONDITION
  // (SHARED_WEIGHTS_MISMATCH) when it was packed on another machine or by another version: nothing
  // has begun then.
  virtual absl::Status BeginWeights(const SharedWeights* shared) = 0;
  // What was packed, for other processes; no segments when the backend cannot share.
  // FAILED_PRECONDITION (SHARED_WEIGHTS_MISMATCH), here or from a packing call, when the calls were
  // not those that made `shared`: the caller drops what it has packed and begins anew without.
  virtual absl::StatusOr<SharedWeights> EndWeights() = 0;

  // A table that is read by ops as it is, of `bytes`: `write` fills host memory, or is not called
  // when the table is shared. `name` and size tell it from others. Must not be written afterwards.
  virtual absl::StatusOr<std::unique_ptr<DeviceBuffer>> PackTable(
      std::string_view name, size_t bytes, absl::FunctionRef<void(void* host)> write) = 0;
  // The parts one below the other as one matrix, copied. All parts have one `in`. The product is
  // computed in `compute` (f32 or bf16, f32 accumulation). What is all bf16 takes no more room when
  // it is computed in f32, and the result has the bits of the same numbers given in f32.
  virtual absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(
      absl::Span<const LinearPart> parts, DType compute) = 0;
  absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(const Tensor& weight, const Tensor& bias,
                                                           DType compute) {
    const LinearPart part{weight, bias};
    return PackLinear(absl::MakeConstSpan(&part, 1), compute);
  }
  // `weight` [out, in, kernel, kernel], `bias` [out] or none, in host memory, f32, bf16 or f16,
  // copied.
  virtual absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(const Tensor& weight,
                                                               const Tensor& bias, int stride,
                                                               const ConvPadding& padding,
                                                               DType compute) = 0;

  // Runs `work`, which launches ops on `stream`, or repeats as one what it launched in an earlier
  // call with this key. Results are the same. REQUIRES: equal keys mean equal ops with equal
  // arguments - addresses, capacities, numbers -, so that all that differs lies in device memory;
  // `work` copies nothing from the host, and does no harm when it runs once more or not at all. A
  // backend that cannot repeat runs it every time.
  virtual absl::Status Replay(std::string_view key, Stream& stream,
                              absl::FunctionRef<absl::Status()> work) {
    return work();
  }

  // From now on `adapter`, which ranges of a batch name, changes what is multiplied by `weight`;
  // `parts` are those that the weight was packed of, one each. Without parts it does so no longer.
  // What is copied is copied when this returns. REQUIRES: no op that reads the weight is under way.
  // UNIMPLEMENTED (ADAPTERS_NOT_ON_CPU) from the CPU backend.
  virtual absl::Status BindAdapter(LinearWeight& weight, int32_t adapter,
                                   absl::Span<const AdapterPart> parts, Stream& stream) = 0;

  virtual absl::Status Linear(const LinearArgs& args, const PackedBatch& batch, Stream& stream) = 0;
  virtual absl::Status LayerNormModulate(const LayerNormModulateArgs& args,
                                         const PackedBatch& batch, Stream& stream) = 0;
  virtual absl::Status Norm(const NormArgs& args, const PackedBatch& batch, Stream& stream) = 0;
  virtual absl::Status QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch,
                                  Stream& stream) = 0;
  virtual absl::Status Attention(const AttentionArgs& args, const PackedBatch& batch,
                                 Stream& stream) = 0;
  virtual absl::Status Patchify(const PatchifyArgs& args, const PackedBatch& batch,
                                Stream& stream) = 0;
  virtual absl::Status GatherRows(const GatherRowsArgs& args, const PackedBatch& batch,
                                  Stream& stream) = 0;
  virtual absl::Status TimestepEmbedding(const TimestepEmbeddingArgs& args,
                                         const PackedBatch& batch, Stream& stream) = 0;
  virtual absl::Status SamplerStep(const SamplerStepArgs& args, Stream& stream) = 0;

  // x[r] = x[r] + y[r mod y.rows] elementwise; used for position embeddings gathered by the caller.
  virtual absl::Status Add(const Tensor& x, const Tensor& y, const Tensor& out, Stream& stream) = 0;
  virtual absl::Status Silu(const Tensor& x, const Tensor& out, Stream& stream) = 0;

  virtual absl::Status Conv2d(const Conv2dArgs& args, Stream& stream) = 0;
  virtual absl::Status GroupNorm(const GroupNormArgs& args, Stream& stream) = 0;
  // out [2h, 2w, c] from x [h, w, c], nearest neighbour.
  virtual absl::Status Upsample2x(const Tensor& x, const Tensor& out, Stream& stream) = 0;
  // out u8 [h, w, c] = round(clamp(x / 2 + 0.5, 0, 1) * 255), half to even as NumPy rounds.
  virtual absl::Status ToPixels(const Tensor& x, const Tensor& out, Stream& stream) = 0;
};

}  // namespace darkroom
