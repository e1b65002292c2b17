#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom {

// What text encoders make of a prompt, in host memory.
struct PromptEmbedding {
  int tokens = 0;
  std::vector<float> hidden;  // [tokens, hidden_width]
  std::vector<float> pooled;  // [pooled_width]
};

// A prompt to embeddings, as one family's pipeline in diffusers makes them.
//
// Thread: one at a time.
class PromptEncoder {
 public:
  virtual ~PromptEncoder() = default;

  // The second pass of loading: packs the tensors that were taken when it was made. `ops` must
  // outlive this object.
  virtual absl::Status Load(DType compute, Ops& ops, Stream& stream) = 0;

  virtual int hidden_width() const = 0;
  virtual int pooled_width() const = 0;
  // The longest prompt in tokens, and what prompts are padded to by default.
  virtual int tokens_max() const = 0;

  // The same prompt of the same tenant may come from a cache; bits are the same. `tokens`: what it
  // is padded to. INVALID_ARGUMENT (PROMPT_TOO_LONG) for a prompt of more.
  virtual absl::StatusOr<std::shared_ptr<const PromptEmbedding>> Encode(uint64_t tenant_tag,
                                                                        std::string_view prompt,
                                                                        int tokens,
                                                                        Stream& stream) = 0;
};

}  // namespace darkroom
