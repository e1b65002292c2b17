#include "model/tokenizers/piece_trie.h"

#include <algorithm>
#include <numeric>

namespace darkroom {

PieceTrie::PieceTrie(absl::Span<const std::string> pieces) {
  std::vector<int32_t> order(pieces.size());
  std::iota(order.begin(), order.end(), 0);
  const auto piece = [&](size_t i) -> const std::string& {
    return pieces[static_cast<size_t>(order[i])];
  };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return pieces[static_cast<size_t>(a)] < pieces[static_cast<size_t>(b)];
  });
  // Each node stands for the sorted pieces [begin, end) that share their first `depth` bytes.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> nodes = {{0, pieces.size(), 0}};
  byte_ = {0};
  for (size_t n = 0; n < nodes.size(); ++n) {
    auto [begin, end, depth] = nodes[n];
    first_child_.push_back(static_cast<uint32_t>(nodes.size()));
    const bool ends_here = begin < end && piece(begin).size() == depth;
    id_.push_back(ends_here ? order[begin] : -1);
    if (ends_here) ++begin;
    while (begin < end) {
      const char byte = piece(begin)[depth];
      size_t next = begin + 1;
      while (next < end && piece(next)[depth] == byte) ++next;
      nodes.push_back({begin, next, depth + 1});
      byte_.push_back(static_cast<uint8_t>(byte));
      begin = next;
    }
  }
  first_child_.push_back(static_cast<uint32_t>(nodes.size()));
}

void PieceTrie::ForEachPrefix(std::string_view text,
                              absl::FunctionRef<void(size_t bytes, int32_t id)> visit) const {
  size_t node = 0;
  for (size_t i = 0; i < text.size() && node < id_.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    const auto begin = byte_.begin() + first_child_[node];
    const auto end = byte_.begin() + first_child_[node + 1];
    const auto child = std::lower_bound(begin, end, byte);
    if (child == end || *child != byte) return;
    node = static_cast<size_t>(child - byte_.begin());
    if (id_[node] >= 0) visit(i + 1, id_[node]);
  }
}

}  // namespace darkroom
