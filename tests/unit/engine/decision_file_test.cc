#include "engine/decision_file.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "testing/temp_folder.h"

namespace darkroom::engine {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(DecisionFileTest, AppendsUntilItsHalfIsFull) {
  const testing::TempFolder folder;
  auto file = DecisionFile::Open(folder.Path("decisions"), 3, 20);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), folder.Path("decisions") + "/3.log");
  (*file)->Append("01234");
  (*file)->Append("5678");
  EXPECT_TRUE((*file)->recording());
  (*file)->Append("ab");
  EXPECT_FALSE((*file)->recording()) << "a record is there whole or not at all";
  (*file)->Append("c");
  EXPECT_EQ(Read((*file)->path()), "012345678");
}

TEST(DecisionFileTest, TheOldestStartsGoFirst) {
  const testing::TempFolder folder;
  const std::string path = folder.Path("decisions");
  std::filesystem::create_directories(path);
  for (const int boot : {2, 9, 10}) {
    std::ofstream(path + "/" + std::to_string(boot) + ".log") << std::string(40, 'x');
  }
  std::ofstream(path + "/notes.txt") << "not a log";
  const auto file = DecisionFile::Open(path, 11, 200);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(std::filesystem::exists(path + "/2.log"));
  EXPECT_TRUE(std::filesystem::exists(path + "/9.log"));
  EXPECT_TRUE(std::filesystem::exists(path + "/10.log"));
  EXPECT_TRUE(std::filesystem::exists(path + "/notes.txt")) << "what is not ours stays";
}

TEST(DecisionFileTest, AFolderThatCannotBeIsAnError) {
  const testing::TempFolder folder;
  std::ofstream(folder.Path("file")) << "x";
  EXPECT_EQ(DecisionFile::Open(folder.Path("file"), 1, 100).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace darkroom::engine
