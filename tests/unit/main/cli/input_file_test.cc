#include "main/cli/input_file.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "main/limits.h"
#include "testing/temp_folder.h"

namespace darkroom::cli {
namespace {

using ::darkroom::testing::TempFolder;
using ::testing::HasSubstr;

class InputFileTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = folder_.Path(name);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static void ExpectUnusable(const std::string& path, const std::string& why) {
    const absl::Status status = ReadPictureFile(path).status();
    EXPECT_EQ(ErrorReason(status), "FILE_UNUSABLE") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
    EXPECT_THAT(std::string(status.message()), HasSubstr(path.substr(0, 20))) << "names the file";
  }

  TempFolder folder_;
};

TEST_F(InputFileTest, GivesTheBytesAsTheyAre) {
  const std::string bytes("\x89PNG\r\n\0\n", 8);
  EXPECT_EQ(*ReadPictureFile(Write("a.png", bytes)), bytes);
}

TEST_F(InputFileTest, SaysWhatIsWrong) {
  ExpectUnusable(folder_.Path("missing.png"), "does not exist");
  ExpectUnusable(folder_.path(), "is a folder");
  ExpectUnusable(Write("empty.png", ""), "is empty");
  ExpectUnusable("/dev/zero", "is no file");
  ExpectUnusable(Write("file", "x") + "/a.png", "cannot be read: Not a directory");
  const std::string pipe = folder_.Path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  ExpectUnusable(pipe, "is no file");
}

TEST_F(InputFileTest, IsNotReadWhenItIsTooLarge) {
  const std::string path = Write("large.png", "x");
  std::filesystem::resize_file(path, kPictureFileBytesMax + 1);
  ExpectUnusable(path, "at most");
}

TEST_F(InputFileTest, SmallPicturesGoInsideTheRequest) {
  // Nobody listens there, and nobody is asked.
  Client client("127.0.0.1:1");
  v1::InputImage input;
  ASSERT_TRUE(AttachPicture(Write("a.png", "picture"), client, input).ok());
  EXPECT_EQ(input.data(), "picture");
  const std::string large = Write("b.png", std::string(kInlinePictureBytesMax + 1, 'x'));
  EXPECT_TRUE(absl::IsUnavailable(AttachPicture(large, client, input))) << "it is uploaded";
}

}  // namespace
}  // namespace darkroom::cli
