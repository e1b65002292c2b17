#include "main/cli/output_files.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class OutputFilesTest : public ::testing::Test {
 protected:
  OutputFilesTest() {
    std::string pattern = ::testing::TempDir() + "output_files_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~OutputFilesTest() override { std::filesystem::remove_all(folder_); }

  static v1::GenerateEvent::OutputChunk Chunk(int index, int64_t offset, const std::string& data) {
    v1::GenerateEvent::OutputChunk chunk;
    chunk.set_output_index(index);
    chunk.set_offset(offset);
    chunk.set_data(data);
    return chunk;
  }
  static v1::Generation Made(const std::vector<std::string>& outputs) {
    v1::Generation generation;
    generation.set_name("tenants/local/generations/abc");
    for (const std::string& bytes : outputs) {
      auto& output = *generation.add_outputs();
      output.set_index(generation.outputs_size() - 1);
      output.set_seed(7 + output.index());
      output.set_size_bytes(static_cast<int64_t>(bytes.size()));
      output.set_sha256(Sha256Hex(bytes));
    }
    return generation;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string folder_;
};

TEST_F(OutputFilesTest, WholeFilesUnderTheirNames) {
  OutputFiles files(folder_ + "/{id}-{index}-{seed}.png");
  ASSERT_TRUE(files.Check(2).ok());
  // Two outputs, interleaved.
  ASSERT_TRUE(files.Add(Chunk(0, 0, "first ")).ok());
  ASSERT_TRUE(files.Add(Chunk(1, 0, "second")).ok());
  ASSERT_TRUE(files.Add(Chunk(0, 6, "picture")).ok());
  const auto paths = files.Finish(Made({"first picture", "second"}));
  ASSERT_TRUE(paths.ok()) << paths.status();
  EXPECT_THAT(*paths, ElementsAre(folder_ + "/abc-0-7.png", folder_ + "/abc-1-8.png"));
  EXPECT_EQ(Read((*paths)[0]), "first picture");
  EXPECT_EQ(Read((*paths)[1]), "second");
  EXPECT_THAT(Files(), ElementsAre("abc-0-7.png", "abc-1-8.png"));
}

TEST_F(OutputFilesTest, DamagedOutputsLeaveNoFile) {
  const auto finish = [&](const v1::GenerateEvent::OutputChunk& chunk,
                          const v1::Generation& generation) {
    OutputFiles files(folder_ + "/out.png");
    if (absl::Status status = files.Add(chunk); !status.ok()) return status;
    return files.Finish(generation).status();
  };
  EXPECT_EQ(ErrorReason(finish(Chunk(0, 5, "gap"), Made({"gap"}))), "OUTPUT_DAMAGED");
  EXPECT_EQ(ErrorReason(finish(Chunk(0, 0, "short"), Made({"shorter"}))), "OUTPUT_DAMAGED");
  EXPECT_EQ(ErrorReason(finish(Chunk(1, 0, "other"), Made({"other"}))), "OUTPUT_DAMAGED");
  v1::Generation wrong = Made({"bytes"});
  wrong.mutable_outputs(0)->set_sha256(Sha256Hex("other"));
  EXPECT_EQ(ErrorReason(finish(Chunk(0, 0, "bytes"), wrong)), "OUTPUT_DAMAGED");
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(OutputFilesTest, ChecksBeforeAnythingIsGenerated) {
  const absl::Status status = OutputFiles(folder_ + "/cat.png").Check(2);
  EXPECT_EQ(ErrorReason(status), "OUT_NEEDS_INDEX");
  EXPECT_THAT(std::string(status.message()), HasSubstr("nearest: " + folder_ + "/cat-{index}.png"));
  EXPECT_TRUE(OutputFiles(folder_ + "/cat.png").Check(1).ok());
  EXPECT_TRUE(OutputFiles(folder_ + "/cat-{seed}.png").Check(2).ok());
  EXPECT_EQ(OutputFiles(folder_ + "/no/such/cat.png").Check(1).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(OutputFiles(folder_).Check(1)), "FILE_NOT_WRITABLE");
  EXPECT_THAT(Files(), IsEmpty());
}

}  // namespace
}  // namespace darkroom::cli
