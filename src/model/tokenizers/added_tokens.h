#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"

namespace darkroom {

// A token that is found in the text before the vocabulary is asked ("</s>").
struct AddedToken {
  std::string content;
  int32_t id = -1;
  // It also takes the white space before it, or after it.
  bool strip_left = false;
  bool strip_right = false;
  // It is looked for in the normalised text instead of the text as it came.
  bool normalized = false;
};

// Splits texts at added tokens: the leftmost first, of several there the longest, as the added
// vocabulary of Hugging Face's tokenizers does.
class AddedTokens {
 public:
  // `tokens`: contents not empty and different. `normalize` is applied to those that are looked for
  // in the normalised text.
  AddedTokens(std::vector<AddedToken> tokens,
              absl::FunctionRef<std::string(std::string_view)> normalize);

  // Calls, in order, `token` for each added token and `text` for what lies between, never empty
  // and normalised.
  void Split(std::string_view text, absl::FunctionRef<std::string(std::string_view)> normalize,
             absl::FunctionRef<void(int32_t id)> token,
             absl::FunctionRef<void(std::string_view text)> rest) const;

 private:
  // Tokens of one kind by their first byte, longest first.
  class Finder {
   public:
    void Add(AddedToken token);
    void Sort();
    void Split(std::string_view text, absl::FunctionRef<void(int32_t id)> token,
               absl::FunctionRef<void(std::string_view text)> rest) const;

   private:
    const AddedToken* FindAt(std::string_view text) const;
    std::vector<AddedToken> by_first_byte_[256];
  };

  Finder plain_;
  Finder normalized_;
};

}  // namespace darkroom
