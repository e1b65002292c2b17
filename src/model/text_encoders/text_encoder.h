#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace darkroom {

// What a text encoder makes of one prompt, in host memory.
struct TextEmbedding {
  std::vector<float> hidden;  // [tokens, width]
  std::vector<float> pooled;  // [width]; empty for encoders that do not pool
};

// A transformer over the tokens of prompts. Activations are float32; matrices are multiplied in the
// type that the derived class's Load was given. The embedding table is read where the files are
// mapped, row by row in its own type, so that it costs no memory of the process.
//
// Thread: one at a time. Does not allocate on the device once the largest batch was seen.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;

  // Encodes any number of prompts, each of 1 to tokens_max() ids below vocabulary_size(), packed
  // into batches of up to kTextRowsMax rows. The bits of a prompt's result depend on the prompt
  // alone. Ids that are out of range are INVALID_ARGUMENT, TOKENS_OUT_OF_RANGE; any other failure
  // is the device's. REQUIRES: loaded.
  absl::StatusOr<std::vector<TextEmbedding>> Encode(absl::Span<const std::vector<int32_t>> prompts,
                                                    Stream& stream);

  // Of hidden states, and of the pooled one where there is one.
  virtual int64_t width() const = 0;
  virtual int32_t vocabulary_size() const = 0;
  virtual int tokens_max() const = 0;

  // Called with intermediate results on the way, for comparing layer by layer; `tensor` is f32
  // [capacity, width], live rows first.
  using Probe = std::function<void(std::string_view name, const Tensor& tensor)>;
  void set_probe(Probe probe) { probe_ = std::move(probe); }

 protected:
  // One batch; all pointers are device memory.
  struct Forward {
    PackedBatch batch;        // a row for every token, a sequence for every prompt
    Tensor hidden;            // f32 [capacity, width]; the embeddings, free to be changed
    Tensor out;               // f32 [capacity, width]
    void* scratch = nullptr;  // ScratchBytes(capacity)
  };

  virtual Ops& ops() const = 0;
  virtual size_t ScratchBytes(int64_t capacity) const = 0;
  // The embedding of `id` at `position`, [width], host memory.
  virtual void GatherRow(int32_t id, int64_t position, float* out) const = 0;
  virtual absl::Status Run(const Forward& forward, Stream& stream) = 0;
  // Which token's result is the pooled one; -1: the encoder does not pool.
  virtual int64_t PooledToken(absl::Span<const int32_t> ids) const = 0;

  void Show(std::string_view name, const Tensor& tensor) const {
    if (probe_) probe_(name, tensor);
  }

 private:
  // Where everything lies in the workspace.
  struct Memory;
  // The kernels' tables, the same layout on host and device.
  struct Tables;

  absl::Status CheckIds(absl::Span<const std::vector<int32_t>> prompts) const;
  Memory MakeMemory(char* base, int64_t capacity, int32_t sequences_max) const;
  absl::Status CopyTables(absl::Span<const std::vector<int32_t>> prompts, const Memory& memory,
                          Forward& forward, Stream& stream);
  absl::Status CopyEmbeddings(absl::Span<const std::vector<int32_t>> prompts, const Tensor& hidden,
                              Stream& stream);
  absl::Status EncodeBatch(absl::Span<const std::vector<int32_t>> prompts, Stream& stream,
                           std::vector<TextEmbedding>& out);

  std::unique_ptr<Workspace> workspace_;
  std::vector<char> tables_staging_;
  std::vector<float> rows_staging_;
  Probe probe_;
};

// Adds a row of a table in host memory, f32, bf16 or f16 and possibly unaligned, to `out`.
void AddTableRow(const Tensor& table, int64_t row, float* out);

}  // namespace darkroom
