#include "model/tokenizers/chars_map.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/model_error.h"
#include "model/tokenizers/unicode.h"

namespace darkroom {
namespace {

constexpr size_t kUnitBytes = 4;
constexpr size_t kWholeClusterBytes = 5;

uint32_t LittleEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = kUnitBytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Darts-clone's units (darts.h, DoubleArrayUnit).
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FFu; }
size_t Offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & 0x200u) >> 6); }

}  // namespace

absl::StatusOr<CharsMap> CharsMap::Parse(std::string_view bytes, std::string_view file) {
  CharsMap map;
  if (bytes.empty()) return map;
  const size_t trie_bytes = bytes.size() < kUnitBytes ? 0 : LittleEndian(bytes);
  if (trie_bytes == 0 || trie_bytes % kUnitBytes != 0 || trie_bytes > bytes.size() - kUnitBytes) {
    return ModelInvalid(file, "has damaged normalization rules: the trie does not fit");
  }
  map.trie_.resize(trie_bytes / kUnitBytes);
  for (size_t i = 0; i < map.trie_.size(); ++i) {
    map.trie_[i] = LittleEndian(bytes.substr((i + 1) * kUnitBytes));
  }
  map.replacements_ = std::string(bytes.substr(kUnitBytes + trie_bytes));
  if (ValidUtf8(map.replacements_) != map.replacements_) {
    return ModelInvalid(file, "has damaged normalization rules: a replacement is not UTF-8");
  }
  return map;
}

bool CharsMap::Find(std::string_view text, std::string_view& replacement) const {
  size_t node = Offset(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return false;
    node ^= byte;
    // Also what keeps a damaged trie from leading anywhere.
    if (node >= trie_.size() || Label(trie_[node]) != byte) return false;
    const uint32_t unit = trie_[node];
    node ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    if (node >= trie_.size() || Value(trie_[node]) >= replacements_.size()) return false;
    const std::string_view rest = std::string_view(replacements_).substr(Value(trie_[node]));
    // Whole code points, even if a damaged value points into the middle of one.
    if ((rest.front() & 0xC0) == 0x80) return false;
    replacement = rest.substr(0, rest.find('\0'));
    return true;
  }
  return false;
}

void CharsMap::AppendCodePoints(std::string_view text, std::string& out) const {
  std::string_view replacement;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    NextCodePoint(text, i);
    const std::string_view part = text.substr(begin, i - begin);
    out += Find(part, replacement) ? replacement : part;
  }
}

std::string CharsMap::Normalize(std::string_view text) const {
  if (trie_.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size());
  ForEachGrapheme(text, [&](std::string_view cluster) {
    std::string_view replacement;
    if (cluster.size() <= kWholeClusterBytes && Find(cluster, replacement)) {
      out += replacement;
    } else {
      AppendCodePoints(cluster, out);
    }
  });
  return out;
}

}  // namespace darkroom
