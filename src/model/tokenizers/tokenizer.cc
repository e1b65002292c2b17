#include "model/tokenizers/tokenizer.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

absl::Status TooLong(const std::string& problem) {
  return Error(absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG",
               absl::StrCat("prompt ", problem))
      .Field("prompt", problem);
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeTo(std::string_view prompt,
                                                         int length) const {
  if (prompt.size() > model_limits::kPromptBytesMax) {
    return TooLong(absl::StrCat("has ", prompt.size(), " bytes; at most ",
                                model_limits::kPromptBytesMax, " can be"));
  }
  std::vector<int32_t> ids = Encode(prompt);
  const auto wanted = static_cast<size_t>(length);
  if (ids.size() > wanted && overflow_ == Overflow::kRefuse) {
    return TooLong(absl::StrCat("has ", ids.size(), " tokens, the end among them; at most ", length,
                                " are allowed here: shorten it"));
  }
  if (ids.size() > wanted) {
    ids.resize(wanted);
    ids.back() = end_id_;
  }
  ids.resize(wanted, pad_id_);
  return ids;
}

}  // namespace darkroom
