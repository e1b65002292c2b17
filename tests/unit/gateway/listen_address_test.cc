#include "gateway/listen_address.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

absl::StatusOr<std::string> Check(const char* address, Reach reach = Reach::kLoopback) {
  return CheckedListenAddress(address, reach, "listen.admin");
}

TEST(ListenAddressTest, LoopbackOnly) {
  for (const char* address : {"127.0.0.1:50051", "127.8.9.10:0", "[::1]:65535"}) {
    const auto checked = Check(address);
    ASSERT_TRUE(checked.ok()) << checked.status();
    EXPECT_EQ(*checked, address);
  }
  EXPECT_EQ(*Check("localhost:1"), "127.0.0.1:1");
  for (const char* address :
       {"0.0.0.0:50051", "[::]:50051", "10.0.0.1:1", "example.com:1", "127.0.0.1.example.com:1",
        "[::ffff:10.0.0.1]:1", "128.0.0.1:1", "localhost.:1", "unix:1", "2130706433:80"}) {
    EXPECT_EQ(ErrorReason(Check(address).status()), "LISTEN_NOT_LOOPBACK") << address;
  }
}

TEST(ListenAddressTest, AnyAddressWhereCallsAreGuardedButNoName) {
  for (const char* address : {"0.0.0.0:50051", "[::]:50051", "10.0.0.1:1", "127.0.0.1:1"}) {
    EXPECT_EQ(*Check(address, Reach::kAnyone), address);
  }
  for (const char* address : {"example.com:1", "unix:1", "2130706433:80"}) {
    EXPECT_EQ(ErrorReason(Check(address, Reach::kAnyone).status()), "LISTEN_ADDRESS_INVALID")
        << address;
  }
}

TEST(ListenAddressTest, Shape) {
  for (const char* address : {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                              "127.0.0.1:http", ":50051"}) {
    EXPECT_EQ(ErrorReason(Check(address).status()), "LISTEN_ADDRESS_INVALID") << address;
  }
}

}  // namespace
}  // namespace darkroom
