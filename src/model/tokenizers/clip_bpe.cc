#include "model/tokenizers/clip_bpe.h"

#include <algorithm>
#include <array>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "model/tokenizers/added_tokens.h"
#include "model/tokenizers/tokenizer_files.h"
#include "model/tokenizers/unicode.h"

namespace darkroom {
namespace {

using Vocabulary = absl::flat_hash_map<std::string, int32_t>;
using MergeList = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kWordEnd = "</w>";

// Vocabularies are written with a printable character for every byte: the byte's own where that is
// one, else the next from U+0100 on (GPT-2's encoder.py, bytes_to_unicode).
std::array<std::string, 256> ByteLetters() {
  std::array<std::string, 256> letters;
  char32_t next = 0x100;
  for (size_t byte = 0; byte < letters.size(); ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    AppendCodePoint(printable ? static_cast<char32_t>(byte) : next++, letters[byte]);
  }
  return letters;
}

std::string Normalize(std::string_view text) {
  const std::string composed = ToNfc(text);
  std::string out;
  out.reserve(composed.size());
  bool in_space = false;
  for (size_t i = 0; i < composed.size();) {
    const char32_t c = NextCodePoint(composed, i);
    if (!IsWhiteSpace(c)) {
      AppendLowerCase(c, out);
    } else if (!in_space) {
      out += ' ';
    }
    in_space = IsWhiteSpace(c);
  }
  return out;
}

// The length of the contraction at the begin; 0: none.
size_t Contraction(std::string_view text) {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(ending)) return ending.size();
  }
  return 0;
}

enum class Kind { kSpace, kLetter, kNumber, kOther };

Kind KindOf(char32_t c) {
  if (IsWhiteSpace(c)) return Kind::kSpace;
  if (IsLetter(c)) return Kind::kLetter;
  return IsNumber(c) ? Kind::kNumber : Kind::kOther;
}

// The end of the word that begins at `begin`.
size_t WordEnd(std::string_view text, size_t begin) {
  if (const size_t size = Contraction(text.substr(begin)); size != 0) return begin + size;
  size_t end = begin;
  const Kind kind = KindOf(NextCodePoint(text, end));
  if (kind == Kind::kNumber) return end;
  for (size_t next = end; next < text.size(); end = next) {
    if (KindOf(NextCodePoint(text, next)) != kind) break;
  }
  return end;
}

class ClipBpe final : public Tokenizer {
 public:
  ClipBpe() : Tokenizer(Overflow::kCut) {}

  absl::Status Init(const Vocabulary& vocabulary, const MergeList& merges, TokenizerFiles files);
  std::vector<int32_t> Encode(std::string_view prompt) const override;

 private:
  struct Merge {
    int32_t rank;
    int32_t token;
  };

  absl::Status AddMerges(const Vocabulary& vocabulary, const MergeList& merges,
                         const std::string& component);
  void AppendWord(std::string_view word, std::vector<int32_t>& ids) const;

  static uint64_t Pair(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }

  int32_t begin_id_ = 0;
  std::array<int32_t, 256> bytes_{};
  std::array<int32_t, 256> last_bytes_{};
  absl::flat_hash_map<uint64_t, Merge> merges_;
  std::unique_ptr<AddedTokens> added_;
};

absl::Status ClipBpe::Init(const Vocabulary& vocabulary, const MergeList& merges,
                           TokenizerFiles files) {
  if (absl::Status status = ResolveAddedTokens(vocabulary, files); !status.ok()) return status;
  begin_id_ = AddedTokenId(files, files.special.begin);
  end_id_ = AddedTokenId(files, files.special.end);
  pad_id_ = AddedTokenId(files, files.special.pad);
  length_max_ = files.length_max;
  const int32_t unknown = AddedTokenId(files, files.special.unknown);
  vocabulary_size_ = static_cast<int32_t>(vocabulary.size());
  for (const AddedToken& token : files.added) {
    vocabulary_size_ = std::max(vocabulary_size_, token.id + 1);
  }

  const std::array<std::string, 256> letters = ByteLetters();
  const auto id_of = [&](const std::string& token) {
    const auto found = vocabulary.find(token);
    return found == vocabulary.end() ? unknown : found->second;
  };
  for (size_t byte = 0; byte < letters.size(); ++byte) {
    bytes_[byte] = id_of(letters[byte]);
    last_bytes_[byte] = id_of(absl::StrCat(letters[byte], std::string(kWordEnd)));
  }
  added_ = std::make_unique<AddedTokens>(std::move(files.added), Normalize);
  return AddMerges(vocabulary, merges, files.component);
}

absl::Status ClipBpe::AddMerges(const Vocabulary& vocabulary, const MergeList& merges,
                                const std::string& component) {
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto found_left = vocabulary.find(left);
    const auto found_right = vocabulary.find(right);
    const auto found = vocabulary.find(absl::StrCat(left, right));
    if (found_left == vocabulary.end() || found_right == vocabulary.end() ||
        found == vocabulary.end()) {
      return ModelInvalid(component,
                          absl::StrCat("merge ", rank + 1, " (\"", left, "\" and \"", right,
                                       "\") has tokens that are not in the vocabulary"));
    }
    // Of a pair that is there twice the last counts.
    merges_[Pair(found_left->second, found_right->second)] = {static_cast<int32_t>(rank),
                                                              found->second};
  }
  return absl::OkStatus();
}

// Joins, again and again, the leftmost of the neighbours whose merge was learned first.
void ClipBpe::AppendWord(std::string_view word, std::vector<int32_t>& ids) const {
  struct Symbol {
    int32_t token;
    int32_t previous;
    int32_t next;  // -1: none
  };
  struct Candidate {
    int32_t rank;
    int32_t position;  // of the left symbol
    int32_t token;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, position) > std::pair(other.rank, other.position);
    }
  };
  const auto size = static_cast<int32_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  for (int32_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<size_t>(i)]);
    symbols[static_cast<size_t>(i)] = {i + 1 == size ? last_bytes_[byte] : bytes_[byte], i - 1,
                                       i + 1 == size ? -1 : i + 1};
  }
  const auto at = [&symbols](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto find = [&](int32_t left) -> const Merge* {
    if (left < 0 || at(left).token < 0 || at(left).next < 0) return nullptr;
    const auto found = merges_.find(Pair(at(left).token, at(at(left).next).token));
    return found == merges_.end() ? nullptr : &found->second;
  };
  const auto offer = [&](int32_t left) {
    if (const Merge* merge = find(left)) queue.push({merge->rank, left, merge->token});
  };
  for (int32_t i = 0; i < size; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    // Either symbol may have been joined with another since.
    const Merge* merge = find(best.position);
    if (merge == nullptr || merge->token != best.token) continue;
    Symbol& left = at(best.position);
    Symbol& right = at(left.next);
    left.token = best.token;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) at(left.next).previous = best.position;
    offer(left.previous);
    offer(best.position);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.token >= 0) ids.push_back(symbol.token);
  }
}

std::vector<int32_t> ClipBpe::Encode(std::string_view prompt) const {
  std::vector<int32_t> ids = {begin_id_};
  added_->Split(
      ValidUtf8(prompt), Normalize, [&](int32_t id) { ids.push_back(id); },
      [&](std::string_view text) {
        for (size_t begin = 0; begin < text.size();) {
          const size_t end = WordEnd(text, begin);
          // Only a space is no word.
          if (text[begin] != ' ') AppendWord(text.substr(begin, end - begin), ids);
          begin = end;
        }
      });
  ids.push_back(end_id_);
  return ids;
}

absl::StatusOr<Vocabulary> ParseVocabulary(const Json& json, const std::string& file) {
  if (!json.is_object() || json.empty() || json.size() > model_limits::kVocabularyMax) {
    return ModelInvalid(file, absl::StrCat("must hold 1 to ", model_limits::kVocabularyMax,
                                           " tokens and their ids"));
  }
  Vocabulary vocabulary;
  vocabulary.reserve(json.size());
  std::vector<bool> used(json.size());
  for (const auto& [token, value] : json.items()) {
    const bool fits = value.is_number_integer() && value.get<int64_t>() >= 0 &&
                      value.get<int64_t>() < static_cast<int64_t>(json.size());
    const auto id = fits ? value.get<size_t>() : 0;
    if (!fits || used[id] || token.size() > model_limits::kTokenBytesMax) {
      return ModelInvalid(file, absl::StrCat("token ids must be 0 to ", json.size() - 1,
                                             ", each once, and tokens have at most ",
                                             model_limits::kTokenBytesMax, " bytes"));
    }
    used[id] = true;
    vocabulary.emplace(token, static_cast<int32_t>(id));
  }
  return vocabulary;
}

// One merge: two tokens and a space between.
absl::Status AppendMerge(std::string_view line, const std::string& file, MergeList& merges) {
  const size_t space = line.find(' ');
  const bool two = space != std::string_view::npos && space > 0 && space + 1 < line.size() &&
                   line.find(' ', space + 1) == std::string_view::npos;
  if (!two || merges.size() >= model_limits::kVocabularyMax) {
    return ModelInvalid(file, absl::StrCat("merge ", merges.size() + 1,
                                           " is not two tokens with a space between, or more than ",
                                           model_limits::kVocabularyMax));
  }
  merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  return absl::OkStatus();
}

absl::StatusOr<MergeList> ParseMergesText(std::string_view text, const std::string& file) {
  MergeList merges;
  bool first = true;
  while (!text.empty()) {
    const size_t end = std::min(text.size(), text.find('\n'));
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const bool header = first && line.starts_with("#version");
    first = false;
    if (header || line.empty()) continue;
    if (absl::Status status = AppendMerge(line, file, merges); !status.ok()) return status;
  }
  return merges;
}

// Lists of two tokens, or, in older files, texts as in merges.txt.
absl::StatusOr<MergeList> ParseMergesJson(const Json& json, const std::string& file) {
  if (!json.is_array()) return ModelInvalid(file, "model.merges must be a list");
  MergeList merges;
  for (const Json& merge : json) {
    std::string line;
    if (merge.is_string()) {
      line = merge.get<std::string>();
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      line = absl::StrCat(merge[0].get<std::string>(), " ", merge[1].get<std::string>());
    }
    if (absl::Status status = AppendMerge(line, file, merges); !status.ok()) return status;
  }
  return merges;
}

struct BpeFiles {
  Vocabulary vocabulary;
  MergeList merges;
};

template <typename Map, typename List>
absl::StatusOr<BpeFiles> Both(absl::StatusOr<Map> vocabulary, absl::StatusOr<List> merges) {
  if (!vocabulary.ok()) return vocabulary.status();
  if (!merges.ok()) return merges.status();
  return BpeFiles{*std::move(vocabulary), *std::move(merges)};
}

absl::StatusOr<BpeFiles> ReadBpe(ModelFolder& folder, const TokenizerFiles& files) {
  const auto path = [&files](std::string_view file) {
    return absl::StrCat(files.component, "/", std::string(file));
  };
  if (files.tokenizer.has_value()) {
    const std::string file = path("tokenizer.json");
    const auto model = files.tokenizer->find("model");
    if (model == files.tokenizer->end() || !model->is_object() || !model->contains("vocab") ||
        !model->contains("merges")) {
      return ModelInvalid(file, "has no model with vocab and merges");
    }
    return Both(ParseVocabulary(model->at("vocab"), file),
                ParseMergesJson(model->at("merges"), file));
  }
  const std::vector<std::string> sets[] = {{"vocab.json", "merges.txt"}, {"tokenizer.json"}};
  if (!folder.Exists(path("vocab.json")) || !folder.Exists(path("merges.txt"))) {
    return MissingTokenizerFiles(folder, files.component, sets);
  }
  absl::StatusOr<Json> vocabulary = folder.ReadJson(path("vocab.json"));
  if (!vocabulary.ok()) return vocabulary.status();
  absl::StatusOr<std::string> merges =
      folder.ReadFile(path("merges.txt"), model_limits::kMergesBytesMax);
  if (!merges.ok()) return merges.status();
  return Both(ParseVocabulary(*vocabulary, path("vocab.json")),
              ParseMergesText(*merges, path("merges.txt")));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadClipTokenizer(ModelFolder& folder,
                                                             std::string_view component) {
  if (absl::Status status = UnicodeReady(); !status.ok()) return status;
  absl::StatusOr<TokenizerFiles> files =
      ReadTokenizerFiles(folder, component, {"CLIPTokenizer", "CLIPTokenizerFast"},
                         {.begin = "<|startoftext|>",
                          .end = "<|endoftext|>",
                          .unknown = "<|endoftext|>",
                          .pad = "<|endoftext|>"});
  if (!files.ok()) return files.status();
  absl::StatusOr<BpeFiles> bpe = ReadBpe(folder, *files);
  if (!bpe.ok()) return bpe.status();
  auto tokenizer = std::make_unique<ClipBpe>();
  absl::Status status = tokenizer->Init(bpe->vocabulary, bpe->merges, *std::move(files));
  if (!status.ok()) return status;
  return tokenizer;
}

}  // namespace darkroom
