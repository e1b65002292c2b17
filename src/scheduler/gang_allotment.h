#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace darkroom::scheduler {

// Degrees of a gang by their logarithm: 1, 2, ... 64.
inline constexpr int kDegreeSteps = 7;

// What a job asks of its gang's accelerators for its next quantum.
struct GangAsk {
  // The smallest degree at which it is in time, a power of two; 1 if none is.
  int32_t asked = 1;
  // What it shall have: that, or its least.
  int32_t need = 1;
  // It does not run on fewer, as its step would take too long; at most `need`.
  int32_t least = 1;
  // [i]: what a step takes on 2^i of them; 0: it cannot run so. [0] is positive.
  std::array<int64_t, kDegreeSteps> step_ns{};
  double steps_left = 1;
  // The rank that has its slot; -1: none yet.
  int32_t at = -1;
  // Its slot may go to any rank; otherwise its block must hold `at`.
  bool moves = true;
  // Its quantum before this one has not ended yet.
  bool runs = false;
};

// The ranks [begin, begin + degree), begin a multiple of degree. Degree 0: none.
struct GangBlock {
  int32_t begin = 0;
  int32_t degree = 0;
  bool Holds(int32_t rank) const { return rank >= begin && rank < begin + degree; }
};

// The logarithm of a power of two.
int DegreeIndex(int32_t degree);

// What a gang's ranks are doing.
enum class RankState : uint8_t {
  kAbsent,  // not to be used
  kIdle,
  kBusy,  // with a quantum that was ordered before
};

// The largest degree of which there is an aligned block; 0: no rank may be used.
int32_t WidestBlock(const std::vector<RankState>& ranks);

// Gives each job, in the order of `asks`, an aligned block of ranks that no other has: as many as
// it needs, or the most that there are down to its least; then doubles the blocks of those that
// gain most by it while the ranks beside them are left, or as many elsewhere that are as idle.
// Where a job may choose, it takes idle ranks, then its slot's, then those that leave the largest
// blocks whole.
std::vector<GangBlock> AllotGang(const std::vector<RankState>& ranks,
                                 const std::vector<GangAsk>& asks);

}  // namespace darkroom::scheduler
