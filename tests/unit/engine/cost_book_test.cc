#include "engine/cost_book.h"

#include <fstream>
#include <string>

#include "base/error.h"
#include "engine/limits.h"
#include "gtest/gtest.h"
#include "scheduler/cost_error.h"
#include "testing/temp_folder.h"

namespace darkroom::engine {
namespace {

using scheduler::Stage;

CostBook Book() {
  CostBook book;
  book.Set({"cpu avx2, 2 threads", "sha256:1", "f32", 1},
           {{{Stage::kDenoise, 64, 1000}, {Stage::kDenoise, 128, 1900}},
            {{Stage::kDenoise, 1.0625, 300}, {Stage::kDecode, 0.1, 7}}});
  book.Set({"gpu\tx\n", "sha256:2", "bf16", 4}, {});
  std::vector<int64_t> errors(scheduler::CostError::kBuckets, 0);
  errors[3] = 200;
  book.SetErrors(errors);
  return book;
}

TEST(CostBookTest, KeepsHardwareModelPrecisionAndDegreeApart) {
  const CostBook book = Book();
  EXPECT_NE(book.Find({"cpu avx2, 2 threads", "sha256:1", "f32", 1}), nullptr);
  EXPECT_EQ(book.Find({"cpu avx2, 4 threads", "sha256:1", "f32", 1}), nullptr);
  EXPECT_EQ(book.Find({"cpu avx2, 2 threads", "sha256:2", "f32", 1}), nullptr);
  EXPECT_EQ(book.Find({"cpu avx2, 2 threads", "sha256:1", "bf16", 1}), nullptr);
  EXPECT_EQ(book.Find({"cpu avx2, 2 threads", "sha256:1", "f32", 2}), nullptr);
}

TEST(CostBookTest, IsTheSameAfterAFile) {
  const testing::TempFolder folder;
  const std::string path = folder.Path("costs");
  ASSERT_TRUE(ReadCosts(path).ok()) << "none is no error";
  ASSERT_TRUE(WriteCosts(path, Book().Format()).ok());
  const auto read = ReadCosts(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->Format(), Book().Format());
  const CostBook::Entry* entry = read->Find({"cpu avx2, 2 threads", "sha256:1", "f32", 1});
  ASSERT_NE(entry, nullptr);
  ASSERT_EQ(entry->points.size(), 2u);
  EXPECT_EQ(entry->points[1].nanos, 1900);
  EXPECT_EQ(read->errors(), Book().errors());
  ASSERT_EQ(entry->learned.size(), 2u);
  EXPECT_EQ(entry->learned[0].correction, 1.0625);
  EXPECT_EQ(entry->learned[1].observations, 7);
  EXPECT_NE(read->Find({"gpu\tx\n", "sha256:2", "bf16", 4}), nullptr);
}

TEST(CostBookTest, EveryChangedByteIsNoticed) {
  const std::string text = Book().Format();
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_EQ(ErrorReason(CostBook::Parse(changed).status()), "COSTS_DAMAGED") << i;
    EXPECT_EQ(ErrorReason(CostBook::Parse(text.substr(0, i)).status()), "COSTS_DAMAGED") << i;
  }
}

TEST(CostBookTest, ErrorsAreAllThereOrNone) {
  CostBook book;
  EXPECT_TRUE(book.empty());
  for (const std::vector<int64_t>& errors :
       {std::vector<int64_t>{1, 2}, std::vector<int64_t>(scheduler::CostError::kBuckets, -1),
        std::vector<int64_t>(scheduler::CostError::kBuckets, int64_t{1} << 40)}) {
    book.SetErrors(errors);
    EXPECT_EQ(ErrorReason(CostBook::Parse(book.Format()).status()), "COSTS_DAMAGED");
  }
  book.SetErrors(std::vector<int64_t>(scheduler::CostError::kBuckets, 5));
  EXPECT_FALSE(book.empty());
  EXPECT_TRUE(CostBook::Parse(book.Format()).ok());
}

TEST(CostBookTest, IsBounded) {
  CostBook book;
  for (size_t i = 0; i < kCostEntriesMax + 5; ++i) {
    book.Set({"cpu", std::to_string(i), "f32", 1}, {});
  }
  EXPECT_TRUE(CostBook::Parse(book.Format()).ok());
  EXPECT_NE(book.Find({"cpu", std::to_string(kCostEntriesMax + 4), "f32", 1}), nullptr);
  EXPECT_FALSE(CostBook::Parse(std::string(kCostFileBytesMax + 1, 'x')).ok());
}

}  // namespace
}  // namespace darkroom::engine
