#include "tenancy/secret_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "base/error.h"
#include "gtest/gtest.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::TempFolder;

TEST(SecretFileTest, IsMadeOnceAndForItsOwnerAlone) {
  const TempFolder folder;
  const std::string path = folder.path() + "/pepper";
  const auto first = ReadOrMakeSecretFile(path, 32);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->size(), 32u);
  EXPECT_EQ(*ReadOrMakeSecretFile(path, 32), *first);
  struct stat about {};
  ASSERT_EQ(::stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
}

TEST(SecretFileTest, ThatOthersCanReadIsRefused) {
  const TempFolder folder;
  const std::string path = folder.path() + "/pepper";
  ASSERT_TRUE(WriteSecretFile(path, std::string(32, 'x')).ok());
  for (const mode_t mode : {0640, 0604, 0620}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_EQ(ErrorReason(ReadOrMakeSecretFile(path, 32).status()), "SECRET_FILE_EXPOSED");
  }
}

TEST(SecretFileTest, ThatIsShortLongOrALinkIsRefusedAndKept) {
  const TempFolder folder;
  const std::string path = folder.path() + "/pepper";
  for (const size_t bytes : {size_t{0}, size_t{31}, size_t{33}, size_t{1} << 20}) {
    ASSERT_TRUE(WriteSecretFile(path, std::string(bytes, 'x')).ok());
    EXPECT_EQ(ErrorReason(ReadOrMakeSecretFile(path, 32).status()), "SECRET_FILE_INVALID");
  }
  ASSERT_TRUE(WriteSecretFile(path, std::string(32, 'x')).ok());
  const std::string link = folder.path() + "/link";
  ASSERT_EQ(::symlink(path.c_str(), link.c_str()), 0);
  EXPECT_EQ(ErrorReason(ReadOrMakeSecretFile(link, 32).status()), "SECRET_FILE_UNREADABLE");
  EXPECT_EQ(*ReadSecretFile(path, 32), std::string(32, 'x'));
}

}  // namespace
}  // namespace darkroom
