#include "scheduler/gang_allotment.h"

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

namespace darkroom::scheduler {
namespace {

class Allotter {
 public:
  Allotter(const std::vector<RankState>& ranks, const std::vector<GangAsk>& asks)
      : ranks_(ranks), asks_(asks), slots_at_(ranks.size(), 0), blocks_(asks.size()) {
    for (const RankState state : ranks) left_.push_back(state != RankState::kAbsent);
    ranks_left_ = std::count(left_.begin(), left_.end(), true);
    for (const GangAsk& ask : asks) {
      if (ask.at >= 0) ++slots_at_[static_cast<size_t>(ask.at)];
    }
  }

  std::vector<GangBlock> Run() {
    for (size_t i = 0; i < asks_.size() && ranks_left_ > 0; ++i) {
      for (int32_t degree = asks_[i].need; degree >= 1 && blocks_[i].degree == 0; degree /= 2) {
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

  void Take(int32_t begin, int32_t degree) {
    std::fill(left_.begin() + begin, left_.begin() + begin + degree, false);
    ranks_left_ -= degree;
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
    auto best = std::tuple(true, true, size() + 1, size(), size());
    for (int32_t begin = 0; begin + degree <= size(); begin += degree) {
      const bool here = ask.at >= begin && ask.at < begin + degree;
      if (!IsLeft(begin, degree) || (!here && !ask.moves)) continue;
      bool busy = false;
      int32_t slots = 0;
      for (auto rank = static_cast<size_t>(begin); rank < static_cast<size_t>(begin + degree);
           ++rank) {
        busy = busy || ranks_[rank] == RankState::kBusy;
        slots += slots_at_[rank];
      }
      best = std::min(best, std::tuple(busy && !(here && ask.runs), !here,
                                       Around(begin, degree), slots, begin));
    }
    if (std::get<2>(best) > size()) return;
    blocks_[index] = {std::get<4>(best), degree};
    Take(blocks_[index].begin, degree);
  }

  // Of those under their need the one that gains most, else of all; false: nobody can.
  bool WidenOne() {
    size_t best = asks_.size();
    auto most = std::tuple(false, 0.0);
    for (size_t i = 0; i < asks_.size(); ++i) {
      const GangBlock& block = blocks_[i];
      const auto next = static_cast<size_t>(DegreeIndex(block.degree)) + 1;
      if (block.degree == 0 || next >= kDegreeSteps || asks_[i].step_ns[next] == 0) continue;
      const int64_t saved_ns = asks_[i].step_ns[next - 1] - asks_[i].step_ns[next];
      if (saved_ns <= 0 || !IsLeft(Beside(block), block.degree)) continue;
      const auto gain = std::tuple(block.degree < asks_[i].need,
                                   asks_[i].steps_left * static_cast<double>(saved_ns));
      if (best != asks_.size() && gain <= most) continue;
      best = i;
      most = gain;
    }
    if (best == asks_.size()) return false;
    GangBlock& block = blocks_[best];
    Take(Beside(block), block.degree);
    block.degree *= 2;
    block.begin = block.begin / block.degree * block.degree;
    return true;
  }

  static int32_t Beside(const GangBlock& block) {
    const bool lower = block.begin % (2 * block.degree) == 0;
    return lower ? block.begin + block.degree : block.begin - block.degree;
  }

  const std::vector<RankState>& ranks_;
  const std::vector<GangAsk>& asks_;
  std::vector<bool> left_;  // by rank: nobody has it
  int64_t ranks_left_ = 0;
  std::vector<int32_t> slots_at_;  // by rank: of those that ask
  std::vector<GangBlock> blocks_;
};

}  // namespace

int DegreeIndex(int32_t degree) {
  return std::countr_zero(static_cast<uint32_t>(std::max(1, degree)));
}

std::vector<GangBlock> AllotGang(const std::vector<RankState>& ranks,
                                 const std::vector<GangAsk>& asks) {
  return Allotter(ranks, asks).Run();
}

}  // namespace darkroom::scheduler
