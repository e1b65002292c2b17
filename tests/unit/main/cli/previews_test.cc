#include "main/cli/previews.h"

#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/temp_folder.h"

namespace darkroom::cli {
namespace {

using ::darkroom::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// What a terminal says of itself, for the time of a test.
class Environment {
 public:
  Environment() {
    for (const char* name : {"KITTY_WINDOW_ID", "TERM", "TERM_PROGRAM"}) unsetenv(name);
  }
};

TEST(TerminalPicturesTest, AreShownOnlyWhereTheTerminalCan) {
  const Environment clean;
  EXPECT_EQ(DetectTerminalPictures(true), TerminalPictures::kNone);
  setenv("TERM", "xterm-256color", 1);
  EXPECT_EQ(DetectTerminalPictures(true), TerminalPictures::kNone);
  setenv("TERM", "xterm-kitty", 1);
  EXPECT_EQ(DetectTerminalPictures(true), TerminalPictures::kKitty);
  EXPECT_EQ(DetectTerminalPictures(false), TerminalPictures::kNone) << "it goes to a file";
  unsetenv("TERM");
  setenv("TERM_PROGRAM", "iTerm.app", 1);
  EXPECT_EQ(DetectTerminalPictures(true), TerminalPictures::kIterm);
  setenv("KITTY_WINDOW_ID", "1", 1);
  EXPECT_EQ(DetectTerminalPictures(true), TerminalPictures::kKitty);
}

// The picture put together again from kitty's escape sequences.
std::string FromKitty(const std::string& shown, int& chunks) {
  std::string encoded;
  for (size_t at = shown.find("\x1b_G"); at != std::string::npos;
       at = shown.find("\x1b_G", at + 1)) {
    ++chunks;
    const size_t begin = shown.find(';', at) + 1;
    const size_t end = shown.find("\x1b\\", begin);
    EXPECT_LE(end - begin, 4096u);
    encoded += shown.substr(begin, end - begin);
    const bool last = shown.find("\x1b_G", end) == std::string::npos;
    EXPECT_THAT(shown.substr(at, begin - at), HasSubstr(last ? "m=0" : "m=1"));
  }
  std::string png;
  EXPECT_TRUE(absl::Base64Unescape(encoded, &png));
  return png;
}

TEST(TerminalPicturesTest, KittyGetsItInPieces) {
  for (const size_t size : {1u, 3072u, 3073u, 100'000u}) {
    std::string png(size, '\0');
    for (size_t i = 0; i < size; ++i) png[i] = static_cast<char>(i * 7 % 251);
    int chunks = 0;
    const std::string shown = TerminalPicture(TerminalPictures::kKitty, png);
    EXPECT_EQ(FromKitty(shown, chunks), png);
    EXPECT_EQ(chunks, (size + 3071) / 3072);
    EXPECT_THAT(shown, StartsWith("\x1b_Ga=T,f=100,"));
  }
}

TEST(TerminalPicturesTest, ItermGetsItWhole) {
  const std::string shown = TerminalPicture(TerminalPictures::kIterm, "picture");
  EXPECT_EQ(shown, absl::StrCat("\x1b]1337;File=inline=1;size=7:", absl::Base64Escape("picture"),
                                "\x07\n"));
  EXPECT_EQ(TerminalPicture(TerminalPictures::kNone, "picture"), "");
}

TEST(PreviewsTest, GoToAFolderThatIsMade) {
  const TempFolder folder;
  const Previews previews(folder.Path("deep/er"), TerminalPictures::kNone);
  EXPECT_TRUE(previews.wanted());
  ASSERT_TRUE(previews.Check().ok());
  v1::GenerateEvent::Preview preview;
  preview.set_output_index(1);
  preview.set_step(12);
  preview.set_data("picture");
  ASSERT_TRUE(previews.Show(preview).ok());
  std::ifstream file(folder.Path("deep/er/preview-1-0012.png"), std::ios::binary);
  const std::string written{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(written, "picture");
}

TEST(PreviewsTest, AFolderThatCannotBeIsSaidBeforeAnythingIsGenerated) {
  const TempFolder folder;
  std::ofstream(folder.Path("file")) << "x";
  const absl::Status status = Previews(folder.Path("file"), TerminalPictures::kNone).Check();
  EXPECT_EQ(ErrorReason(status), "FOLDER_UNUSABLE");
  EXPECT_THAT(std::string(status.message()), HasSubstr(folder.Path("file")));
  EXPECT_EQ(ErrorReason(Previews(folder.Path("file/deep"), TerminalPictures::kNone).Check()),
            "FOLDER_UNUSABLE");
  EXPECT_FALSE(Previews("", TerminalPictures::kNone).wanted());
  EXPECT_TRUE(Previews("", TerminalPictures::kNone).Check().ok());
}

}  // namespace
}  // namespace darkroom::cli
