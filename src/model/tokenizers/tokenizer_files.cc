#include "model/tokenizers/tokenizer_files.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/limits.h"
#include "model/model_error.h"

namespace darkroom {
namespace {

using model_limits::kAddedTokensMax;
using model_limits::kTokenBytesMax;

bool IsContent(const std::string& content) {
  return !content.empty() && content.size() <= kTokenBytesMax;
}

// A token is written as its content, or as an object with flags.
absl::StatusOr<AddedToken> ParseToken(const Json& json, const std::string& file) {
  AddedToken token;
  if (json.is_string()) {
    token.content = json.get<std::string>();
  } else if (json.is_object() && json.contains("content") && json.at("content").is_string()) {
    token.content = json.at("content").get<std::string>();
    const auto flag = [&json](const char* name) {
      const auto found = json.find(name);
      return found != json.end() && found->is_boolean() && found->get<bool>();
    };
    if (flag("single_word")) {
      return ModelInvalid(file, absl::StrCat("token \"", token.content,
                                             "\" has single_word, which is not supported"));
    }
    token.strip_left = flag("lstrip");
    token.strip_right = flag("rstrip");
    token.normalized = flag("normalized");
  }
  if (!IsContent(token.content)) {
    return ModelInvalid(file, absl::StrCat("has a special token that is not a text of 1 to ",
                                           kTokenBytesMax, " bytes"));
  }
  return token;
}

class Reader {
 public:
  Reader(ModelFolder& folder, TokenizerFiles& files) : folder_(folder), files_(files) {}

  absl::Status Read(absl::Span<const std::string_view> classes, const SpecialTokens& defaults) {
    absl::Status status = Open();
    if (status.ok()) status = CheckSettings(classes);
    if (status.ok()) status = ReadSpecial(defaults);
    if (status.ok()) status = ReadLength();
    if (status.ok()) status = ReadAdded();
    return status;
  }

 private:
  std::string Path(std::string_view file) const {
    return absl::StrCat(files_.component, "/", std::string(file));
  }

  // The file's object, an empty one when there is none.
  absl::StatusOr<Json> ReadOptional(std::string_view file) {
    if (!folder_.Exists(Path(file))) return Json::object();
    return folder_.ReadJson(Path(file));
  }

  absl::Status Open() {
    absl::StatusOr<Json> config = ReadOptional("tokenizer_config.json");
    if (!config.ok()) return config.status();
    files_.config = *std::move(config);
    absl::StatusOr<Json> special = ReadOptional("special_tokens_map.json");
    if (!special.ok()) return special.status();
    special_map_ = *std::move(special);
    if (!folder_.Exists(Path("tokenizer.json"))) return absl::OkStatus();
    absl::StatusOr<Json> tokenizer = folder_.ReadJson(Path("tokenizer.json"));
    if (!tokenizer.ok()) return tokenizer.status();
    files_.tokenizer = *std::move(tokenizer);
    return absl::OkStatus();
  }

  absl::Status CheckSettings(absl::Span<const std::string_view> classes) const {
    const auto setting = [this](const char* name) -> std::string {
      const auto found = files_.config.find(name);
      if (found == files_.config.end() || found->is_null()) return "";
      return found->is_string() ? found->get<std::string>() : found->dump();
    };
    const auto refuse = [this](std::string_view name, const std::string& value,
                               std::string_view supported) {
      return ModelInvalid(
          Path("tokenizer_config.json"),
          absl::StrCat(std::string(name), " is ", value,
                       ", which is not supported; supported: ", std::string(supported)));
    };
    const std::string type = setting("tokenizer_class");
    if (!type.empty() && std::find(classes.begin(), classes.end(), type) == classes.end()) {
      return refuse(
          "tokenizer_class", type,
          absl::StrJoin(std::vector<std::string>(classes.begin(), classes.end()), " or "));
    }
    for (const char* side : {"padding_side", "truncation_side"}) {
      const std::string value = setting(side);
      if (!value.empty() && value != "right") return refuse(side, value, "right");
    }
    const std::string split = setting("split_special_tokens");
    if (!split.empty() && split != "false") return refuse("split_special_tokens", split, "false");
    return absl::OkStatus();
  }

  absl::Status ReadSpecial(const SpecialTokens& defaults) {
    files_.special = defaults;
    const std::pair<const char*, std::string*> tokens[] = {{"bos_token", &files_.special.begin},
                                                           {"eos_token", &files_.special.end},
                                                           {"unk_token", &files_.special.unknown},
                                                           {"pad_token", &files_.special.pad}};
    for (const auto& [name, content] : tokens) {
      // What the family has no use for does not become a token.
      if (content->empty()) continue;
      for (const Json* source : {&std::as_const(files_.config), &std::as_const(special_map_)}) {
        const auto found = source->find(name);
        if (found == source->end() || found->is_null()) continue;
        absl::StatusOr<AddedToken> token = ParseToken(*found, Path("tokenizer_config.json"));
        if (!token.ok()) return token.status();
        *content = token->content;
        named_.push_back(*std::move(token));
        break;
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadLength() {
    const auto found = files_.config.find("model_max_length");
    if (found == files_.config.end() || !found->is_number()) return absl::OkStatus();
    const auto length = found->get<double>();
    // transformers writes 1e30 for "none".
    if (length > 1e9) return absl::OkStatus();
    if (!(length >= 2 && length <= model_limits::kPromptTokensMax)) {
      return ModelInvalid(Path("tokenizer_config.json"),
                          absl::StrCat("model_max_length must be 2 to ",
                                       model_limits::kPromptTokensMax, " tokens"));
    }
    files_.length_max = static_cast<int>(length);
    return absl::OkStatus();
  }

  absl::Status Add(const Json& json, int64_t id, const std::string& file) {
    absl::StatusOr<AddedToken> token = ParseToken(json, file);
    if (!token.ok()) return token.status();
    if (id < 0 || id >= model_limits::kVocabularyMax) {
      return ModelInvalid(file,
                          absl::StrCat("token \"", token->content, "\" must have an id of 0 to ",
                                       model_limits::kVocabularyMax - 1));
    }
    token->id = static_cast<int32_t>(id);
    return Append(*std::move(token), file);
  }

  // Of equal contents the first counts.
  absl::Status Append(AddedToken token, const std::string& file) {
    if (!contents_.insert(token.content).second) return absl::OkStatus();
    if (files_.added.size() >= kAddedTokensMax) {
      return ModelInvalid(file, absl::StrCat("has more than ", kAddedTokensMax, " added tokens"));
    }
    files_.added.push_back(std::move(token));
    return absl::OkStatus();
  }

  absl::Status ReadAdded() {
    const std::string config_file = Path("tokenizer_config.json");
    const auto decoder = files_.config.find("added_tokens_decoder");
    if (decoder != files_.config.end() && decoder->is_object() && !decoder->empty()) {
      for (const auto& [key, json] : decoder->items()) {
        int64_t id = -1;
        if (!absl::SimpleAtoi(key, &id)) id = -1;
        if (absl::Status status = Add(json, id, config_file); !status.ok()) return status;
      }
    } else if (files_.tokenizer.has_value() && files_.tokenizer->contains("added_tokens")) {
      for (const Json& json : files_.tokenizer->at("added_tokens")) {
        const bool has_id =
            json.is_object() && json.contains("id") && json.at("id").is_number_integer();
        const int64_t id = has_id ? json.at("id").get<int64_t>() : -1;
        if (absl::Status status = Add(json, id, Path("tokenizer.json")); !status.ok()) {
          return status;
        }
      }
    }
    for (AddedToken& token : named_) {
      if (absl::Status status = Append(std::move(token), config_file); !status.ok()) return status;
    }
    for (const char* list : {"additional_special_tokens", "extra_special_tokens"}) {
      const auto found = files_.config.find(list);
      if (found == files_.config.end() || !found->is_array()) continue;
      for (const Json& json : *found) {
        absl::StatusOr<AddedToken> token = ParseToken(json, config_file);
        if (!token.ok()) return token.status();
        if (absl::Status status = Append(*std::move(token), config_file); !status.ok()) {
          return status;
        }
      }
    }
    return absl::OkStatus();
  }

  ModelFolder& folder_;
  TokenizerFiles& files_;
  Json special_map_;
  std::vector<AddedToken> named_;
  absl::flat_hash_set<std::string> contents_;
};

}  // namespace

absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(ModelFolder& folder, std::string_view component,
                                                  absl::Span<const std::string_view> classes,
                                                  const SpecialTokens& defaults) {
  TokenizerFiles files;
  files.component = std::string(component);
  absl::Status status = Reader(folder, files).Read(classes, defaults);
  if (!status.ok()) return status;
  return files;
}

absl::Status MissingTokenizerFiles(const ModelFolder& folder, std::string_view component,
                                   absl::Span<const std::vector<std::string>> sets) {
  std::vector<std::string> fewest;
  std::vector<std::string> choices;
  for (const std::vector<std::string>& set : sets) {
    choices.push_back(absl::StrJoin(set, " and "));
    std::vector<std::string> missing;
    for (const std::string& file : set) {
      if (!folder.Exists(absl::StrCat(std::string(component), "/", file))) missing.push_back(file);
    }
    if (fewest.empty() || missing.size() < fewest.size()) fewest = std::move(missing);
  }
  return ModelInvalid(
      component, absl::StrCat(absl::StrJoin(fewest, " and "), fewest.size() == 1 ? " is" : " are",
                              " missing; a tokenizer needs ", absl::StrJoin(choices, ", or ")));
}

absl::Status ResolveAddedTokens(const absl::flat_hash_map<std::string, int32_t>& vocabulary,
                                TokenizerFiles& files) {
  for (const std::string* content :
       {&files.special.begin, &files.special.end, &files.special.unknown, &files.special.pad}) {
    const bool known = content->empty() || std::any_of(files.added.begin(), files.added.end(),
                                                       [content](const AddedToken& token) {
                                                         return token.content == *content;
                                                       });
    if (!known) files.added.push_back({.content = *content});
  }
  absl::flat_hash_set<int32_t> ids;
  for (AddedToken& token : files.added) {
    const auto found = vocabulary.find(token.content);
    if (found != vocabulary.end()) {
      if (token.id >= 0 && token.id != found->second) {
        return ModelInvalid(files.component, absl::StrCat("token \"", token.content, "\" is ",
                                                          found->second, " in the vocabulary and ",
                                                          token.id, " among the added tokens"));
      }
      token.id = found->second;
    } else if (token.id < static_cast<int32_t>(vocabulary.size())) {
      return ModelInvalid(files.component,
                          absl::StrCat("token \"", token.content, "\" is not in the vocabulary"));
    }
    if (!ids.insert(token.id).second) {
      return ModelInvalid(files.component, absl::StrCat("two added tokens have id ", token.id));
    }
  }
  return absl::OkStatus();
}

int32_t AddedTokenId(const TokenizerFiles& files, std::string_view content) {
  for (const AddedToken& token : files.added) {
    if (token.content == content) return token.id;
  }
  return -1;
}

}  // namespace darkroom
