#include "evaluation/retrieval.h"

#include <cmath>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(RetrievalTest, RanksFromOne) {
  const float scores[] = {0.1f, 0.9f, 0.5f, -0.3f};
  EXPECT_EQ(RankOf(scores, 1), 1);
  EXPECT_EQ(RankOf(scores, 2), 2);
  EXPECT_EQ(RankOf(scores, 0), 3);
  EXPECT_EQ(RankOf(scores, 3), 4);
}

TEST(RetrievalTest, AScorerThatTellsNothingApartRanksLast) {
  const std::vector<float> same(200, 0.25f);
  for (const size_t right : {0, 7, 199}) EXPECT_EQ(RankOf(same, right), 200);
  std::vector<float> broken(200, NAN);
  EXPECT_EQ(RankOf(broken, 3), 200);
  broken.assign(200, 0.0f);
  broken[3] = NAN;
  EXPECT_EQ(RankOf(broken, 3), 200);
  broken.assign(200, 0.0f);
  broken[3] = 1;
  broken[5] = NAN;
  EXPECT_EQ(RankOf(broken, 3), 2);
}

TEST(RetrievalTest, FiguresOfSeveralPictures) {
  RetrievalFigures figures;
  EXPECT_EQ(figures.pictures, 0);
  figures.Add(1, 0.5);
  figures.Add(5, 0.25);
  figures.Add(6, 0.0);
  figures.Add(2, -0.25);
  EXPECT_EQ(figures.pictures, 4);
  EXPECT_EQ(figures.top1, 1);
  EXPECT_EQ(figures.top5, 3);
  EXPECT_NEAR(figures.mean_reciprocal_rank, (1 + 1 / 5.0 + 1 / 6.0 + 1 / 2.0) / 4, 1e-12);
  EXPECT_NEAR(figures.mean_cosine, 0.125, 1e-12);
}

}  // namespace
}  // namespace darkroom
