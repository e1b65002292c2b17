// A tokenizer's model file.
#include <fstream>
#include <iterator>

#include "fuzz/fuzz_target.h"
#include "model/tokenizers/sentencepiece_model.h"

namespace darkroom::fuzz {

void Run(std::string_view bytes) {
  const auto model = ParseSentencePieceModel(bytes, "spiece.model");
  if (model.ok()) Require(!model->pieces.empty(), "a model has pieces");
}

std::vector<std::string> Seeds() {
  std::ifstream file(DARKROOM_SOURCE_DIR "/deploy/models/emoji/tokenizer_2/spiece.model",
                     std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(file), {});
  return {whole, whole.substr(0, 512), whole.substr(whole.size() - 256)};
}

}  // namespace darkroom::fuzz
