#include "model/tokenizers/t5_unigram.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "model/tokenizers/added_tokens.h"
#include "model/tokenizers/chars_map.h"
#include "model/tokenizers/piece_trie.h"
#include "model/tokenizers/sentencepiece_model.h"
#include "model/tokenizers/tokenizer_files.h"
#include "model/tokenizers/unicode.h"

namespace darkroom {
namespace {

// U+2581, which stands for the space before a word.
constexpr std::string_view kWordBegin = "\u2581";
// The id of the unknown token, fixed by T5Tokenizer, and how much less likely than the unlikeliest
// piece an unknown character is.
constexpr int32_t kUnknownId = 2;
constexpr double kUnknownPenalty = 10.0;
constexpr int kExtraIdsDefault = 100;

struct Unigram {
  // By id.
  std::vector<std::string> pieces;
  std::vector<double> scores;
  CharsMap normalizer;
};

class T5Unigram final : public Tokenizer {
 public:
  T5Unigram() : Tokenizer(Overflow::kRefuse) {}

  absl::Status Init(Unigram model, TokenizerFiles files, const std::string& file);
  std::vector<int32_t> Encode(std::string_view prompt) const override;

 private:
  void AppendText(std::string_view text, std::vector<int32_t>& ids) const;
  void AppendWord(std::string_view word, std::vector<int32_t>& ids) const;
  void AppendPieces(std::string_view word, std::vector<int32_t>& ids) const;

  CharsMap normalizer_;
  PieceTrie trie_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  std::unique_ptr<AddedTokens> added_;
};

absl::Status T5Unigram::Init(Unigram model, TokenizerFiles files, const std::string& file) {
  absl::flat_hash_map<std::string, int32_t> vocabulary;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (!vocabulary.emplace(model.pieces[id], static_cast<int32_t>(id)).second) {
      return ModelInvalid(file, absl::StrCat("has the piece \"", model.pieces[id], "\" twice"));
    }
  }
  if (absl::Status status = ResolveAddedTokens(vocabulary, files); !status.ok()) return status;
  if (AddedTokenId(files, files.special.unknown) != kUnknownId) {
    return ModelInvalid(file, absl::StrCat("the unknown token must have id ", kUnknownId));
  }
  end_id_ = AddedTokenId(files, files.special.end);
  pad_id_ = AddedTokenId(files, files.special.pad);
  length_max_ = files.length_max;
  vocabulary_size_ = static_cast<int32_t>(model.pieces.size());
  for (const AddedToken& token : files.added) {
    vocabulary_size_ = std::max(vocabulary_size_, token.id + 1);
  }
  trie_ = PieceTrie(model.pieces);
  scores_ = std::move(model.scores);
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  normalizer_ = std::move(model.normalizer);
  added_ = std::make_unique<AddedTokens>(std::move(files.added), [this](std::string_view text) {
    return normalizer_.Normalize(text);
  });
  return absl::OkStatus();
}

std::vector<int32_t> T5Unigram::Encode(std::string_view prompt) const {
  std::vector<int32_t> ids;
  added_->Split(
      ValidUtf8(prompt), [this](std::string_view text) { return normalizer_.Normalize(text); },
      [&ids](int32_t id) { ids.push_back(id); },
      [&](std::string_view text) { AppendText(text, ids); });
  ids.push_back(end_id_);
  return ids;
}

// Words end at white space, which is dropped.
void T5Unigram::AppendText(std::string_view text, std::vector<int32_t>& ids) const {
  size_t begin = 0;
  for (size_t next = 0; next < text.size();) {
    const size_t end = next;
    if (!IsWhiteSpace(NextCodePoint(text, next))) continue;
    if (begin < end) AppendWord(text.substr(begin, end - begin), ids);
    begin = next;
  }
  if (begin < text.size()) AppendWord(text.substr(begin), ids);
}

// A word begins with kWordBegin, and what holds another is several words.
void T5Unigram::AppendWord(std::string_view word, std::vector<int32_t>& ids) const {
  const std::string marked = word.starts_with(kWordBegin)
                                 ? std::string(word)
                                 : absl::StrCat(std::string(kWordBegin), std::string(word));
  std::string_view rest = marked;
  while (!rest.empty()) {
    const size_t end = std::min(rest.size(), rest.find(kWordBegin, kWordBegin.size()));
    AppendPieces(rest.substr(0, end), ids);
    rest.remove_prefix(end);
  }
}

// The likeliest way to cut the word into pieces, by dynamic programming over its bytes. Of equally
// likely ones the first that is found counts, which decides bits: places in order, at each the
// shortest piece first, sums in double precision.
void T5Unigram::AppendPieces(std::string_view word, std::vector<int32_t>& ids) const {
  struct Place {
    double score = 0;    // of the best way to get here
    int32_t id = -1;     // its last piece
    int64_t begin = -1;  // where that begins; -1: nothing ends here
  };
  std::vector<Place> places(word.size() + 1);
  for (size_t begin = 0; begin < word.size();) {
    const double so_far = places[begin].score;
    const auto offer = [&](size_t end, int32_t id, double score) {
      Place& place = places[end];
      if (place.begin >= 0 && !(so_far + score > place.score)) return;
      place = {so_far + score, id, static_cast<int64_t>(begin)};
    };
    size_t next = begin;
    NextCodePoint(word, next);
    bool has_single = false;
    trie_.ForEachPrefix(word.substr(begin), [&](size_t bytes, int32_t id) {
      offer(begin + bytes, id, scores_[static_cast<size_t>(id)]);
      has_single = has_single || begin + bytes == next;
    });
    if (!has_single) offer(next, kUnknownId, unknown_score_);
    begin = next;
  }
  const size_t first = ids.size();
  for (auto end = static_cast<int64_t>(word.size()); end > 0;) {
    const Place& place = places[static_cast<size_t>(end)];
    // Neighbouring unknown characters are one token.
    const bool fused = place.id == kUnknownId && ids.size() > first && ids.back() == kUnknownId;
    if (!fused) ids.push_back(place.id);
    end = place.begin;
  }
  std::reverse(ids.begin() + static_cast<int64_t>(first), ids.end());
}

absl::StatusOr<Unigram> ReadTokenizerJson(const Json& json, const std::string& file) {
  const auto model = json.find("model");
  const bool has_pieces = model != json.end() && model->is_object() && model->contains("vocab") &&
                          model->at("vocab").is_array();
  const Json empty = Json::array();
  const Json& pieces = has_pieces ? model->at("vocab") : empty;
  if (pieces.empty() || pieces.size() > model_limits::kVocabularyMax) {
    return ModelInvalid(
        file, absl::StrCat("model.vocab must be a list of 1 to ", model_limits::kVocabularyMax,
                           " pieces with their scores, as unigram models have"));
  }
  Unigram unigram;
  for (const Json& piece : pieces) {
    const bool fits =
        piece.is_array() && piece.size() == 2 && piece[0].is_string() &&
        !piece[0].get_ref<const std::string&>().empty() &&
        piece[0].get_ref<const std::string&>().size() <= model_limits::kTokenBytesMax &&
        piece[1].is_number() && std::isfinite(piece[1].get<double>());
    if (!fits) {
      return ModelInvalid(file, absl::StrCat("piece ", unigram.pieces.size(),
                                             " of model.vocab is not [text of 1 to ",
                                             model_limits::kTokenBytesMax, " bytes, score]"));
    }
    unigram.pieces.push_back(piece[0].get<std::string>());
    unigram.scores.push_back(piece[1].get<double>());
  }
  const auto normalizer = json.find("normalizer");
  if (normalizer == json.end() || !normalizer->is_object()) return unigram;
  // One normalizer, or a sequence of several, of which T5Tokenizer takes this one only.
  Json steps = Json::array({*normalizer});
  if (normalizer->contains("normalizers")) steps = normalizer->at("normalizers");
  for (const Json& step : steps) {
    if (!step.is_object() || !step.contains("precompiled_charsmap")) continue;
    const Json& encoded = step.at("precompiled_charsmap");
    std::string bytes;
    if (!encoded.is_string() ||
        !absl::Base64Unescape(encoded.get_ref<const std::string&>(), &bytes)) {
      return ModelInvalid(file, "precompiled_charsmap is not base64");
    }
    absl::StatusOr<CharsMap> map = CharsMap::Parse(bytes, file);
    if (!map.ok()) return map.status();
    unigram.normalizer = *std::move(map);
    break;
  }
  return unigram;
}

// Also adds to `files` the tokens that the model itself sets apart, and T5's extra ids.
absl::StatusOr<Unigram> ReadSentencePiece(std::string_view bytes, const std::string& file,
                                          TokenizerFiles& files) {
  absl::StatusOr<SentencePieceModel> model = ParseSentencePieceModel(bytes, file);
  if (!model.ok()) return model.status();
  absl::StatusOr<CharsMap> map = CharsMap::Parse(model->precompiled_charsmap, file);
  if (!map.ok()) return map.status();
  Unigram unigram;
  unigram.normalizer = *std::move(map);
  const auto add = [&files](const std::string& content) {
    const bool known =
        std::any_of(files.added.begin(), files.added.end(),
                    [&content](const AddedToken& token) { return token.content == content; });
    if (!known) files.added.push_back({.content = content});
  };
  for (const SentencePieceModel::Piece& piece : model->pieces) {
    unigram.pieces.push_back(piece.text);
    unigram.scores.push_back(piece.score);
    if (piece.type == SentencePieceModel::PieceType::kControl ||
        piece.type == SentencePieceModel::PieceType::kUserDefined) {
      add(piece.text);
    }
  }
  int64_t extra = kExtraIdsDefault;
  if (const auto found = files.config.find("extra_ids"); found != files.config.end()) {
    extra = found->is_number_integer() ? found->get<int64_t>() : -1;
  }
  if (extra < 0 || extra > model_limits::kExtraIdsMax) {
    return ModelInvalid(absl::StrCat(files.component, "/tokenizer_config.json"),
                        absl::StrCat("extra_ids must be 0 to ", model_limits::kExtraIdsMax));
  }
  while (extra-- > 0) {
    unigram.pieces.push_back(absl::StrCat("<extra_id_", extra, ">"));
    unigram.scores.push_back(0);
    add(unigram.pieces.back());
  }
  return unigram;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadT5Tokenizer(ModelFolder& folder,
                                                           std::string_view component) {
  if (absl::Status status = UnicodeReady(); !status.ok()) return status;
  absl::StatusOr<TokenizerFiles> files =
      ReadTokenizerFiles(folder, component, {"T5Tokenizer", "T5TokenizerFast"},
                         {.end = "</s>", .unknown = "<unk>", .pad = "<pad>"});
  if (!files.ok()) return files.status();
  std::string file = absl::StrCat(files->component, "/tokenizer.json");
  absl::StatusOr<Unigram> unigram = Unigram();
  if (files->tokenizer.has_value()) {
    unigram = ReadTokenizerJson(*files->tokenizer, file);
  } else {
    file = absl::StrCat(files->component, "/spiece.model");
    const std::vector<std::string> sets[] = {{"spiece.model"}, {"tokenizer.json"}};
    if (!folder.Exists(file)) return MissingTokenizerFiles(folder, files->component, sets);
    absl::StatusOr<std::string> bytes = folder.ReadFile(file, model_limits::kSentencePieceBytesMax);
    if (!bytes.ok()) return bytes.status();
    unigram = ReadSentencePiece(*bytes, file, *files);
  }
  if (!unigram.ok()) return unigram.status();
  auto tokenizer = std::make_unique<T5Unigram>();
  absl::Status status = tokenizer->Init(*std::move(unigram), *std::move(files), file);
  if (!status.ok()) return status;
  return tokenizer;
}

}  // namespace darkroom
