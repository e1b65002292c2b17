// Prompts, in the tokenizers of the model that ships.
#include "fuzz/fuzz_target.h"
#include "model/model_folder.h"
#include "model/tokenizers/clip_bpe.h"
#include "model/tokenizers/t5_unigram.h"

namespace darkroom::fuzz {
namespace {

using Loader = absl::StatusOr<std::unique_ptr<Tokenizer>> (*)(ModelFolder&, std::string_view);

const Tokenizer& Load(Loader loader, std::string_view component) {
  auto folder = ModelFolder::Open(DARKROOM_SOURCE_DIR "/deploy/models/emoji");
  Require(folder.ok(), "the model that ships is there");
  auto tokenizer = loader(*folder, component);
  Require(tokenizer.ok(), "its tokenizers load");
  return *tokenizer->release();
}

}  // namespace

void Run(std::string_view bytes) {
  static const Tokenizer& clip = Load(LoadClipTokenizer, "tokenizer");
  static const Tokenizer& t5 = Load(LoadT5Tokenizer, "tokenizer_2");
  for (const Tokenizer* tokenizer : {&clip, &t5}) {
    const auto ids = tokenizer->EncodeTo(bytes, 32);
    if (!ids.ok()) continue;
    Require(ids->size() == 32, "a prompt has as many tokens as asked for");
    for (const int32_t id : *ids) {
      Require(id >= 0 && id < tokenizer->vocabulary_size(), "a token is of the vocabulary");
    }
  }
}

std::vector<std::string> Seeds() {
  return {"a photo of a grinning cat, 4k", "  Straße\t\n naïve ÅNGSTRÖM ﬁ ",
          "\xf0\x9f\x8d\x93\xe2\x80\x8d\xef\xb8\x8f 草莓 клубника",
          "don't </s> <|endoftext|> <pad>", std::string("\xff\xfe\x80 \0 \xed\xa0\x80", 9)};
}

}  // namespace darkroom::fuzz
