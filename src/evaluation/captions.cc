#include "evaluation/captions.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "evaluation/limits.h"
#include "model/config_reader.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using evaluation_limits::kCaptionsMax;

// One of the list, or what is wrong with it.
absl::StatusOr<Caption> ReadCaption(const Json& entry, const std::string& file, size_t index) {
  const auto invalid = [&](const std::string& problem) {
    return ModelInvalid(file, absl::StrCat("captions[", index, "] ", problem));
  };
  if (!entry.is_object()) return invalid("must be an object");
  const auto text = entry.find("caption");
  if (text == entry.end() || !text->is_string() || text->get_ref<const std::string&>().empty() ||
      text->get_ref<const std::string&>().size() > model_limits::kPromptBytesMax) {
    return invalid(
        absl::StrCat("needs a caption of 1 to ", model_limits::kPromptBytesMax, " bytes"));
  }
  const auto held_out = entry.find("held_out");
  if (held_out == entry.end() || !held_out->is_boolean()) {
    return invalid("needs held_out, true or false");
  }
  if (entry.size() != 2) return invalid("has other fields than caption and held_out");
  return Caption{text->get<std::string>(), held_out->get<bool>()};
}

// `count` of `from`, evenly spread.
void Spread(const std::vector<size_t>& from, size_t count, std::vector<size_t>& out) {
  for (size_t i = 0; i < count; ++i) out.push_back(from[i * from.size() / count]);
}

}  // namespace

absl::StatusOr<std::vector<Caption>> ReadCaptions(ModelFolder& folder, const std::string& file) {
  const absl::StatusOr<Json> json = folder.ReadJson(file);
  if (!json.ok()) return json.status();
  const auto list = json->find("captions");
  if (list == json->end() || !list->is_array() || list->size() < 2 ||
      list->size() > size_t{kCaptionsMax} || json->size() != 1) {
    return ModelInvalid(
        file, absl::StrCat("must be {\"captions\": [...]} with 2 to ", kCaptionsMax, " entries"));
  }
  std::vector<Caption> captions;
  absl::flat_hash_set<std::string> seen;
  for (const Json& entry : *list) {
    absl::StatusOr<Caption> caption = ReadCaption(entry, file, captions.size());
    if (!caption.ok()) return caption.status();
    if (!seen.insert(caption->text).second) {
      return ModelInvalid(file, absl::StrCat("captions[", captions.size(),
                                             "] is there twice: which of them a picture shows "
                                             "could not be told"));
    }
    captions.push_back(*std::move(caption));
  }
  return captions;
}

absl::StatusOr<std::vector<size_t>> ChoosePrompts(const std::vector<Caption>& captions, int count) {
  const auto total = static_cast<int>(captions.size());
  if (count < 0 || count > total) {
    return Error(absl::StatusCode::kInvalidArgument, "PROMPTS_OUT_OF_RANGE",
                 absl::StrCat("prompts is ", count, "; the scorer's gallery has ", total,
                              " captions: it must be 1 to ", total,
                              ", or 0 for all; nearest: ", std::clamp(count, 0, total)));
  }
  std::vector<size_t> training;
  std::vector<size_t> held_out;
  for (size_t i = 0; i < captions.size(); ++i) {
    (captions[i].held_out ? held_out : training).push_back(i);
  }
  const size_t wanted = count == 0 ? captions.size() : static_cast<size_t>(count);
  // Rounded to the nearest, but none of both kinds vanishes where there is room for two.
  size_t held_out_count = (wanted * held_out.size() + captions.size() / 2) / captions.size();
  if (wanted >= 2 && !held_out.empty()) held_out_count = std::max<size_t>(held_out_count, 1);
  if (wanted >= 2 && !training.empty()) held_out_count = std::min(held_out_count, wanted - 1);
  held_out_count = std::min(held_out_count, held_out.size());
  held_out_count = std::max(held_out_count, wanted - std::min(wanted, training.size()));
  std::vector<size_t> chosen;
  Spread(training, wanted - held_out_count, chosen);
  Spread(held_out, held_out_count, chosen);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace darkroom
