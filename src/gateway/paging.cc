#include "gateway/paging.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gateway/limits.h"

namespace darkroom {

namespace limits = gateway_limits;

int CheckedPageSize(int32_t page_size, FieldErrors& errors) {
  if (page_size == 0) return limits::kPageSizeDefault;
  const int nearest = std::clamp(page_size, 1, limits::kPageSizeMax);
  if (page_size != nearest) {
    errors.Add("page_size", "PAGE_SIZE_OUT_OF_RANGE", absl::StrCat("is ", page_size),
               absl::StrCat("must be 1 to ", limits::kPageSizeMax, ", or 0 for ",
                            limits::kPageSizeDefault, "; nearest: ", nearest));
  }
  return nearest;
}

std::string CheckedPageToken(const std::string& page_token, FieldErrors& errors) {
  if (page_token.size() <= static_cast<size_t>(limits::kPageTokenBytesMax)) return page_token;
  errors.Add("page_token", "PAGE_TOKEN_INVALID", absl::StrCat("has ", page_token.size(), " bytes"),
             "must be empty or next_page_token of the previous page");
  return "";
}

}  // namespace darkroom
