#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"

namespace darkroom {

// The place of the right answer among all, best first, from 1. What scores as much as the right one
// stands before it, so that a scorer which tells nothing apart ranks it last; so does a score that
// is not a number. REQUIRES: right < scores.size().
int RankOf(absl::Span<const float> scores, size_t right);

// How well pictures find their captions.
struct RetrievalFigures {
  int pictures = 0;
  int top1 = 0;  // pictures whose caption came first
  int top5 = 0;  // among the first five
  double mean_reciprocal_rank = 0;
  double mean_cosine = 0;  // of picture and caption

  void Add(int rank, double cosine);
};

}  // namespace darkroom
