#include "tenancy/operator_key.h"

#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "base/wall_time.h"
#include "gtest/gtest.h"
#include "testing/memory_store.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::MemoryDisk;
using ::darkroom::testing::MemoryStore;
using ::darkroom::testing::TempFolder;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

TEST(MakeFirstOperatorKeyTest, MakesOneThatOpensTheServerAndNoSecond) {
  const TempFolder folder;
  const std::string path = folder.path() + "/operator.key";
  MemoryStore store(std::make_shared<MemoryDisk>());
  KeyRing ring("pepper");
  const auto made = MakeFirstOperatorKey(store, ring, path, kNow);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_TRUE(*made);
  std::string text = folder.Read("operator.key");
  absl::StripAsciiWhitespace(&text);
  const auto principal = ring.Verify(text, kNow);
  ASSERT_TRUE(principal.ok()) << principal.status();
  EXPECT_TRUE(principal->roles.Has(v1::ROLE_OPERATOR));
  EXPECT_EQ(principal->tenant, "");
  EXPECT_EQ(store.keys().AllKeys()->size(), 1u);
  EXPECT_FALSE(*MakeFirstOperatorKey(store, ring, path, kNow));
  // Once none is left, the way in must not be lost.
  v1::ApiKeyRecord record = store.keys().AllKeys()->front();
  *record.mutable_key()->mutable_revoke_time() = ToTimestamp(kNow);
  ring.Put(record);
  EXPECT_TRUE(*MakeFirstOperatorKey(store, ring, path, kNow));
}

TEST(MakeFirstOperatorKeyTest, WithoutAPlaceForItsTextThereIsNoKey) {
  MemoryStore store(std::make_shared<MemoryDisk>());
  KeyRing ring("pepper");
  EXPECT_FALSE(MakeFirstOperatorKey(store, ring, "/nonexistent/folder/key", kNow).ok());
  EXPECT_TRUE(store.keys().AllKeys()->empty());
}

}  // namespace
}  // namespace darkroom
