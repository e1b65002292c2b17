#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace darkroom {

// The at most `count` entries of `names` that are nearest to `wanted`, nearest first, each once;
// for "did you mean". Nearest by Levenshtein distance between Unicode code points, ASCII case
// ignored; equal distances keep the order of `names`.
//
// `wanted` comes from a client: only its first 256 bytes are looked at, so that the time is bounded
// by the length of `names`.
std::vector<std::string> NearestNames(std::string_view wanted, absl::Span<const std::string> names,
                                      int count);

}  // namespace darkroom
