#include "config/listen.h"

#include <string>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

std::string Problem(const v1::DaemonConfig& proto) {
  const auto listen = ResolveListen(proto);
  return listen.ok() ? "" : std::string(listen.status().message());
}

std::string Problem(const std::string& grpc) {
  v1::DaemonConfig proto;
  proto.mutable_listen()->set_grpc(grpc);
  return Problem(proto);
}

v1::DaemonConfig Guarded() {
  v1::DaemonConfig proto;
  proto.mutable_listen()->mutable_tls()->set_certificate("cert.pem");
  proto.mutable_listen()->mutable_tls()->set_key("key.pem");
  proto.mutable_authentication();
  return proto;
}

TEST(ListenTest, OnlyLoopbackIsServedByDefault) {
  for (const char* good : {"127.0.0.1:0", "127.8.8.8:65535", "localhost:80", "[::1]:1"}) {
    EXPECT_EQ(Problem(good), "") << good;
  }
  EXPECT_THAT(Problem("0.0.0.0:8000"), HasSubstr("nearest: \"127.0.0.1:8000\""));
  EXPECT_THAT(Problem("10.1.2.3:1"), HasSubstr("must be a loopback address"));
  EXPECT_THAT(Problem("127.0.0.1.example.com:1"), HasSubstr("must be a loopback address"));
  EXPECT_THAT(Problem("::1"), HasSubstr("must be a loopback address"));
  for (const char* bad : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", ":80",
                          "127.0.0.1:80x", "127.0.0.1:99999999999"}) {
    EXPECT_THAT(Problem(bad), HasSubstr("must be an address and a port, 0 to 65535")) << bad;
  }
}

TEST(ListenTest, OthersAreServedWithTlsAndAuthenticationTogether) {
  v1::DaemonConfig proto = Guarded();
  proto.mutable_listen()->set_grpc("0.0.0.0:50051");
  proto.mutable_listen()->set_admin("10.0.0.1:50052");
  EXPECT_EQ(Problem(proto), "");
  v1::DaemonConfig open = proto;
  open.clear_authentication();
  EXPECT_THAT(Problem(open), HasSubstr("listen.grpc"));
  v1::DaemonConfig plain = proto;
  plain.mutable_listen()->clear_tls();
  EXPECT_THAT(Problem(plain), HasSubstr("listen.grpc"));
  plain.mutable_listen()->set_grpc("127.0.0.1:1");
  EXPECT_THAT(Problem(plain), HasSubstr("listen.admin"));
}

TEST(ListenTest, TheOperatorsPortIsTheNextOne) {
  const auto admin = [](const std::string& grpc) {
    v1::DaemonConfig proto;
    proto.mutable_listen()->set_grpc(grpc);
    return ResolveListen(proto)->admin;
  };
  EXPECT_EQ(admin(""), "127.0.0.1:50052");
  EXPECT_EQ(admin("[::1]:7"), "127.0.0.1:8");
  EXPECT_EQ(admin("127.0.0.1:0"), "127.0.0.1:0");
  EXPECT_EQ(admin("127.0.0.1:65535"), "127.0.0.1:0");
}

TEST(ListenTest, HalfOfTlsIsNone) {
  v1::DaemonConfig proto = Guarded();
  proto.mutable_listen()->mutable_tls()->clear_key();
  EXPECT_THAT(Problem(proto), HasSubstr("listen.tls.key is not set"));
  proto = Guarded();
  proto.mutable_listen()->mutable_tls()->clear_certificate();
  EXPECT_THAT(Problem(proto), HasSubstr("listen.tls.certificate is not set"));
  proto = Guarded();
  proto.mutable_listen()->mutable_tls()->set_require_client_certificate(true);
  EXPECT_THAT(Problem(proto), HasSubstr("listen.tls.client_ca is not set"));
}

}  // namespace
}  // namespace darkroom
