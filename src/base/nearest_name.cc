#include "base/nearest_name.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "base/limits.h"

namespace darkroom {
namespace {

// Code points of UTF-8 as far as comparing needs: a lead byte with its continuation bytes is one
// symbol, and broken text gives some symbols rather than an error.
std::vector<uint32_t> Symbols(std::string_view text) {
  std::vector<uint32_t> symbols;
  for (const char c : text.substr(0, kNearestNameBytesMax)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool continuation = (byte & 0xC0) == 0x80;
    if (continuation && !symbols.empty()) {
      symbols.back() = (symbols.back() << 8) | byte;
    } else {
      symbols.push_back(static_cast<unsigned char>(absl::ascii_tolower(byte)));
    }
  }
  return symbols;
}

// Levenshtein distance, two rows of the table at a time.
int EditDistance(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  std::vector<int> above(b.size() + 1);
  std::iota(above.begin(), above.end(), 0);
  std::vector<int> row(b.size() + 1);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substituted = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, substituted});
    }
    above.swap(row);
  }
  return above.back();
}

}  // namespace

std::vector<std::string> NearestNames(std::string_view wanted, absl::Span<const std::string> names,
                                      int count) {
  if (count <= 0) return {};
  const std::vector<uint32_t> symbols = Symbols(wanted);
  std::vector<std::pair<int, size_t>> ranked;  // distance, index
  ranked.reserve(names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    ranked.emplace_back(EditDistance(symbols, Symbols(names[i])), i);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  absl::flat_hash_set<std::string> seen;
  for (const auto& [distance, index] : ranked) {
    if (nearest.size() == static_cast<size_t>(count)) break;
    if (seen.insert(names[index]).second) nearest.push_back(names[index]);
  }
  return nearest;
}

}  // namespace darkroom
