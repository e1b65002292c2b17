#include "evaluation/retrieval.h"

namespace darkroom {

int RankOf(absl::Span<const float> scores, size_t right) {
  int rank = 1;
  for (size_t i = 0; i < scores.size(); ++i) {
    // Written so that a score which is not a number is no better than any.
    if (i != right && !(scores[i] < scores[right])) ++rank;
  }
  return rank;
}

void RetrievalFigures::Add(int rank, double cosine) {
  const double before = pictures;
  ++pictures;
  top1 += rank <= 1 ? 1 : 0;
  top5 += rank <= 5 ? 1 : 0;
  mean_reciprocal_rank = (mean_reciprocal_rank * before + 1.0 / rank) / pictures;
  mean_cosine = (mean_cosine * before + cosine) / pictures;
}

}  // namespace darkroom
