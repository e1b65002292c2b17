#include "model/embedding_cache.h"

#include <algorithm>
#include <map>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

constexpr size_t kPlenty = size_t{1} << 20;

PromptEmbedding Embedding(float value, size_t count = 100) {
  return {.tokens = 1, .hidden = std::vector<float>(count, value), .pooled = {value}};
}

// What Find gives, by the number that was put; -1 when nothing.
float Found(EmbeddingCache& cache, const EmbeddingCache::Key& key) {
  const std::shared_ptr<const PromptEmbedding> found = cache.Find(key);
  return found == nullptr ? -1 : found->pooled.at(0);
}

TEST(EmbeddingCacheTest, FindsByAllOfTheKey) {
  EmbeddingCache cache(kPlenty, kPlenty);
  EXPECT_EQ(Found(cache, {1, "a cat", 64}), -1);
  EXPECT_EQ(cache.Put({1, "a cat", 64}, Embedding(1))->pooled[0], 1);
  EXPECT_EQ(Found(cache, {1, "a cat", 64}), 1);
  EXPECT_EQ(Found(cache, {1, "a cat", 65}), -1);
  EXPECT_EQ(Found(cache, {1, "a cat ", 64}), -1);
  EXPECT_EQ(Found(cache, {1, "", 64}), -1);
  EXPECT_EQ(cache.hits(), 1);
  EXPECT_EQ(cache.misses(), 4);
}

TEST(EmbeddingCacheTest, OneTenantNeverFindsWhatIsAnothers) {
  EmbeddingCache cache(kPlenty, kPlenty);
  cache.Put({1, "a cat", 64}, Embedding(1));
  EXPECT_EQ(Found(cache, {2, "a cat", 64}), -1);
  cache.Put({2, "a cat", 64}, Embedding(2));
  EXPECT_EQ(Found(cache, {1, "a cat", 64}), 1);
  EXPECT_EQ(Found(cache, {2, "a cat", 64}), 2);
  cache.EraseTenant(1);
  EXPECT_EQ(Found(cache, {1, "a cat", 64}), -1);
  EXPECT_EQ(Found(cache, {2, "a cat", 64}), 2);
  EXPECT_EQ(cache.size(), 1u);
}

TEST(EmbeddingCacheTest, PutReplaces) {
  EmbeddingCache cache(kPlenty, kPlenty);
  cache.Put({1, "a", 1}, Embedding(1, 100));
  const size_t small = cache.size_bytes();
  cache.Put({1, "a", 1}, Embedding(2, 200));
  EXPECT_EQ(Found(cache, {1, "a", 1}), 2);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.size_bytes(), small + 100 * sizeof(float));
}

TEST(EmbeddingCacheTest, TheLeastRecentlyUsedLeaves) {
  EmbeddingCache one(kPlenty, kPlenty);
  one.Put({1, "a", 1}, Embedding(0));
  EmbeddingCache cache(3 * one.size_bytes(), kPlenty);
  cache.Put({1, "a", 1}, Embedding(1));
  cache.Put({1, "b", 1}, Embedding(2));
  cache.Put({1, "c", 1}, Embedding(3));
  EXPECT_EQ(Found(cache, {1, "a", 1}), 1);
  cache.Put({1, "d", 1}, Embedding(4));
  EXPECT_EQ(Found(cache, {1, "b", 1}), -1);
  EXPECT_EQ(Found(cache, {1, "a", 1}), 1);
  EXPECT_EQ(Found(cache, {1, "c", 1}), 3);
  EXPECT_EQ(Found(cache, {1, "d", 1}), 4);
}

TEST(EmbeddingCacheTest, WhatIsTooLargeAloneIsGivenBackAndNotKept) {
  EmbeddingCache cache(2000, kPlenty);
  cache.Put({1, "a", 1}, Embedding(1));
  EXPECT_EQ(cache.Put({1, "b", 1}, Embedding(2, 600))->pooled[0], 2);
  EXPECT_EQ(Found(cache, {1, "b", 1}), -1);
  EXPECT_EQ(Found(cache, {1, "a", 1}), 1);
  EmbeddingCache none(0, kPlenty);
  EXPECT_EQ(none.Put({1, "a", 1}, Embedding(3))->pooled[0], 3);
  EXPECT_EQ(none.size(), 0u);
}

TEST(EmbeddingCacheTest, NoMoreThanSoMany) {
  EmbeddingCache cache(kPlenty, 2);
  cache.Put({1, "a", 1}, Embedding(1));
  cache.Put({1, "b", 1}, Embedding(2));
  cache.Put({1, "b", 1}, Embedding(3));
  EXPECT_EQ(cache.size(), 2u);
  cache.Put({1, "c", 1}, Embedding(4));
  EXPECT_EQ(Found(cache, {1, "a", 1}), -1);
  EXPECT_EQ(Found(cache, {1, "b", 1}), 3);
  EXPECT_EQ(Found(cache, {1, "c", 1}), 4);
  EmbeddingCache none(kPlenty, 0);
  EXPECT_EQ(none.Put({1, "a", 1}, Embedding(5))->pooled[0], 5);
  EXPECT_EQ(none.size(), 0u);
}

TEST(EmbeddingCacheTest, PromptsCountAsBytes) {
  EmbeddingCache cache(kPlenty, kPlenty);
  cache.Put({1, std::string(5000, 'x'), 1}, Embedding(1));
  EXPECT_GT(cache.size_bytes(), 5000u);
  cache.Clear();
  EXPECT_EQ(cache.size_bytes(), 0u);
}

TEST(EmbeddingCacheTest, WhoHoldsAnEmbeddingKeepsItWhenTheCacheLetsGo) {
  EmbeddingCache cache(kPlenty, kPlenty);
  const auto held = cache.Put({1, "a", 1}, Embedding(7));
  cache.Clear();
  EXPECT_EQ(held->hidden, std::vector<float>(100, 7.0f));
  EXPECT_EQ(held.use_count(), 1);
}

// Against a plain model of it: same content after any sequence of calls, and never too large.
TEST(EmbeddingCacheTest, RandomCalls) {
  std::mt19937 random(3);
  const auto draw = [&random](int count) {
    return static_cast<int>(random() % static_cast<uint32_t>(count));
  };
  constexpr size_t kBytesMax = 8000;
  EmbeddingCache cache(kBytesMax, kPlenty);
  std::vector<std::pair<std::tuple<uint64_t, std::string, int>, float>> model;  // oldest first
  for (int i = 0; i < 5000; ++i) {
    const auto tenant = static_cast<uint64_t>(draw(3));
    const std::string prompt(static_cast<size_t>(draw(4)), 'p');
    const int tokens = draw(3);
    const std::tuple key(tenant, prompt, tokens);
    const auto at = std::find_if(model.begin(), model.end(),
                                 [&key](const auto& entry) { return entry.first == key; });
    const int call = draw(20);
    if (call == 0) {
      cache.EraseTenant(tenant);
      std::erase_if(model, [&](const auto& entry) { return std::get<0>(entry.first) == tenant; });
    } else if (call < 10) {
      if (at != model.end()) model.erase(at);
      cache.Put({tenant, prompt, tokens}, Embedding(static_cast<float>(i)));
      model.emplace_back(key, static_cast<float>(i));
      // All are equally large, but for their prompts.
      while (model.size() > cache.size()) model.erase(model.begin());
    } else {
      const float found = Found(cache, {tenant, prompt, tokens});
      ASSERT_EQ(found, at == model.end() ? -1 : at->second) << i;
      if (at != model.end()) std::rotate(at, at + 1, model.end());
    }
    ASSERT_EQ(cache.size(), model.size()) << i;
    ASSERT_LE(cache.size_bytes(), kBytesMax) << i;
  }
  EXPECT_GT(cache.hits(), 500);
}

}  // namespace
}  // namespace darkroom
