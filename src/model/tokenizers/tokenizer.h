#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom {

// A prompt's text to the token ids that a text encoder was trained on.
//
// Thread: any, several at once; nothing changes after loading.
class Tokenizer {
 public:
  // What is done with a prompt of too many tokens.
  enum class Overflow { kCut, kRefuse };

  virtual ~Tokenizer() = default;

  // All ids of the prompt, special tokens included, however many they are. The prompt may hold any
  // bytes: what is no UTF-8 is read as U+FFFD.
  virtual std::vector<int32_t> Encode(std::string_view prompt) const = 0;

  // Exactly `length` ids, as diffusers pads and cuts them: fewer are followed by pad_id(); of more
  // the first are kept and the last of them becomes end_id(), or with kRefuse they are an
  // INVALID_ARGUMENT, PROMPT_TOO_LONG, that says how many tokens there are and how many may be. So
  // is a prompt of more than kPromptBytesMax bytes. REQUIRES: length >= 2.
  absl::StatusOr<std::vector<int32_t>> EncodeTo(std::string_view prompt, int length) const;

  Overflow overflow() const { return overflow_; }
  int32_t pad_id() const { return pad_id_; }
  int32_t end_id() const { return end_id_; }
  // One more than the largest id that Encode can give.
  int32_t vocabulary_size() const { return vocabulary_size_; }
  // model_max_length of tokenizer_config.json; 0 when it says none.
  int length_max() const { return length_max_; }

 protected:
  explicit Tokenizer(Overflow overflow) : overflow_(overflow) {}

  Overflow overflow_;
  int32_t pad_id_ = 0;
  int32_t end_id_ = 0;
  int32_t vocabulary_size_ = 0;
  int length_max_ = 0;
};

}  // namespace darkroom
