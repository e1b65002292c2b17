#pragma once

#include <cstdint>
#include <string>

#include "gateway/field_errors.h"

namespace darkroom {

// The page size to use: 0 means the default. Out of range is a violation of "page_size".
int CheckedPageSize(int32_t page_size, FieldErrors& errors);

// The token as it is; one longer than any that we give is a violation of "page_token".
std::string CheckedPageToken(const std::string& page_token, FieldErrors& errors);

}  // namespace darkroom
