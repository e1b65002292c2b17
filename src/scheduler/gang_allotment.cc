#include "scheduler/gang_allotment.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <tuple>
#include <utility>

namespace darkroom::scheduler {
namespace {

class Allotter {
 public:
  Allotter(const std::vector<RankState>& ranks, const std::vector<GangAsk>& asks)
      : ranks_(ranks),
        asks_(asks),
        slots_at_(ranks.size(), 0),
        fixed_at_(ranks.size(), 0),
        blocks_(asks.size()) {
    for (const RankState state : ranks) left_.push_back(state != RankState::kAbsent);
    ranks_left_ = std::count(left_.begin(), left_.end(), true);
    for (const GangAsk& ask : asks) {
      if (ask.at < 0) continue;
      ++slots_at_[static_cast<size_t>(ask.at)];
      fixed_at_[static_cast<size_t>(ask.at)] += ask.moves ? 0 : 1;
    }
  }

  std::vector<GangBlock> Run() {
    for (size_t i = 0; i < asks_.size() && ranks_left_ > 0; ++i) {
      const int32_t least = asks_[i].least;
      for (int32_t degree = asks_[i].need; degree >= least && blocks_[i].degree == 0; degree /= 2) {
        if (asks_[i].step_ns[static_cast<size_t>(DegreeIndex(degree))] > 0) Find(i, degree);
      }
    }
    while (ranks_left_ > 0 && WidenOne()) {
    }
    return std::move(blocks_);
  }

 private:
  int32_t size() const { return static_cast<int32_t>(left_.size()); }

  bool IsLeft(int32_t begin, int32_t degree) const {
    if (begin + degree > size()) return false;
    return std::all_of(left_.begin() + begin, left_.begin() + begin + degree,
                       [](bool is_left) { return is_left; });
  }

  // That a rank of the block is in this state.
  bool Has(const GangBlock& block, RankState state) const {
    const auto begin = ranks_.begin() + block.begin;
    return std::find(begin, begin + block.degree, state) != begin + block.degree;
  }

  void Take(const GangBlock& block, bool take) {
    std::fill(left_.begin() + block.begin, left_.begin() + block.begin + block.degree, !take);
    ranks_left_ += take ? -block.degree : block.degree;
  }

  // The size of the largest block that is left and holds this one.
  int32_t Around(int32_t begin, int32_t degree) const {
    while (degree < size()) {
      begin = begin / (2 * degree) * (2 * degree);
      if (!IsLeft(begin, 2 * degree)) break;
      degree *= 2;
    }
    return degree;
  }

  void Find(size_t index, int32_t degree) {
    const GangAsk& ask = asks_[index];
    constexpr auto kMany = std::numeric_limits<int32_t>::max();
    auto best = std::tuple(kMany, true, kMany, kMany, kMany, kMany);
    for (int32_t begin = 0; begin + degree <= size(); begin += degree) {
      const bool here = ask.at >= begin && ask.at < begin + degree;
      if (!IsLeft(begin, degree) || (!here && !ask.moves)) continue;
      int32_t busy = 0;
      int32_t slots = 0;
      int32_t fixed = 0;
      for (auto rank = static_cast<size_t>(begin); rank < static_cast<size_t>(begin + degree);
           ++rank) {
        busy += ranks_[rank] == RankState::kBusy ? 1 : 0;
        slots += slots_at_[rank];
        fixed += fixed_at_[rank];
      }
      best = std::min(best, std::tuple(here && ask.runs ? 0 : busy, !here, here ? 0 : fixed,
                                       Around(begin, degree), slots, begin));
    }
    if (std::get<5>(best) == kMany) return;
    blocks_[index] = {std::get<5>(best), degree};
    Take(blocks_[index], true);
  }

  // Of those under their need the one that gains most by twice as many, else of all; false: nobody
  // can have them.
  bool WidenOne() {
    size_t best = asks_.size();
    GangBlock wider;
    auto most = std::tuple(false, 0.0);
    for (size_t i = 0; i < asks_.size(); ++i) {
      const GangBlock& block = blocks_[i];
      const auto next = static_cast<size_t>(DegreeIndex(block.degree)) + 1;
      if (block.degree == 0 || next >= kDegreeSteps || asks_[i].step_ns[next] == 0) continue;
      const int64_t saved_ns = asks_[i].step_ns[next - 1] - asks_[i].step_ns[next];
      const auto gain = std::tuple(block.degree < asks_[i].need,
                                   asks_[i].steps_left * static_cast<double>(saved_ns));
      if (saved_ns <= 0 || (best != asks_.size() && gain <= most)) continue;
      const GangBlock twice = Twice(block, asks_[i]);
      if (twice.degree == 0) continue;
      best = i;
      wider = twice;
      most = gain;
    }
    if (best == asks_.size()) return false;
    Take(blocks_[best], false);
    blocks_[best] = wider;
    Take(wider, true);
    return true;
  }

  // A block of twice the size for who has this one: around it, or elsewhere; degree 0: none.
  GangBlock Twice(const GangBlock& block, const GangAsk& ask) {
    const int32_t degree = 2 * block.degree;
    const bool has_idle = Has(block, RankState::kIdle);
    GangBlock found;
    Take(block, false);
    for (int32_t begin = 0; begin + degree <= size(); begin += degree) {
      const bool here = ask.at >= begin && ask.at < begin + degree;
      const bool around = block.begin / degree * degree == begin;
      if (!IsLeft(begin, degree) || (!here && !ask.moves)) continue;
      // Nobody gives up what is idle, which another would widen over, to wait for what is not.
      if (!around && has_idle && Has({begin, degree}, RankState::kBusy)) continue;
      if (found.degree == 0 || around) found = {begin, degree};
    }
    Take(block, true);
    return found;
  }

  const std::vector<RankState>& ranks_;
  const std::vector<GangAsk>& asks_;
  std::vector<bool> left_;  // by rank: nobody has it
  int64_t ranks_left_ = 0;
  std::vector<int32_t> slots_at_;  // by rank: of those that ask
  std::vector<int32_t> fixed_at_;  // and of those among them that cannot go elsewhere
  std::vector<GangBlock> blocks_;
};

}  // namespace

int DegreeIndex(int32_t degree) {
  return std::countr_zero(static_cast<uint32_t>(std::max(1, degree)));
}

int32_t WidestBlock(const std::vector<RankState>& ranks) {
  const auto size = static_cast<int32_t>(ranks.size());
  int32_t widest = 0;
  for (int32_t degree = 1; degree <= size; degree *= 2) {
    for (int32_t begin = 0; begin + degree <= size; begin += degree) {
      if (std::none_of(ranks.begin() + begin, ranks.begin() + begin + degree,
                       [](RankState state) { return state == RankState::kAbsent; })) {
        widest = degree;
        break;
      }
    }
  }
  return widest;
}

std::vector<GangBlock> AllotGang(const std::vector<RankState>& ranks,
                                 const std::vector<GangAsk>& asks) {
  return Allotter(ranks, asks).Run();
}

}  // namespace darkroom::scheduler
