#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace darkroom {

// Class-conditional models take a class name as their prompt. A class may have several names in one
// string, separated by commas ("tench, Tinca tinca"): each of them is accepted, and the whole
// string, ASCII case and surrounding spaces ignored.
bool IsClassName(std::string_view prompt, absl::Span<const std::string* const> classes);

// The names nearest to `prompt`, nearest first, synonyms counted one by one.
std::vector<std::string> NearestClassNames(std::string_view prompt,
                                           absl::Span<const std::string* const> classes, int count);

}  // namespace darkroom
