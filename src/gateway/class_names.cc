#include "gateway/class_names.h"

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/nearest_name.h"
#include "gateway/limits.h"
#include "gateway/text.h"

namespace darkroom {
namespace {

absl::string_view Stripped(std::string_view text) {
  return absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
}

// Calls `visit` with every synonym of `name` until it returns true; returns whether it did.
bool AnySynonym(std::string_view name, absl::FunctionRef<bool(absl::string_view)> visit) {
  while (true) {
    const size_t comma = name.find(',');
    if (visit(Stripped(name.substr(0, comma)))) return true;
    if (comma == std::string_view::npos) return false;
    name.remove_prefix(comma + 1);
  }
}

}  // namespace

bool IsClassName(std::string_view prompt, absl::Span<const std::string* const> classes) {
  const absl::string_view wanted = Stripped(prompt);
  if (wanted.empty()) return false;
  for (const std::string* name : classes) {
    if (absl::EqualsIgnoreCase(wanted, Stripped(*name))) return true;
    if (AnySynonym(*name, [&](absl::string_view synonym) {
          return absl::EqualsIgnoreCase(wanted, synonym);
        })) {
      return true;
    }
  }
  return false;
}

std::vector<std::string> NearestClassNames(std::string_view prompt,
                                           absl::Span<const std::string* const> classes,
                                           int count) {
  std::vector<std::string> synonyms;
  synonyms.reserve(classes.size());
  for (const std::string* name : classes) {
    AnySynonym(*name, [&](absl::string_view synonym) {
      synonyms.emplace_back(synonym);
      return false;
    });
  }
  return NearestNames(Utf8Prefix(prompt, gateway_limits::kComparedBytesMax), synonyms, count);
}

}  // namespace darkroom
