#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "darkroom/v1/admin.grpc.pb.h"
#include "darkroom/v1/generation.grpc.pb.h"
#include "darkroom/v1/model.grpc.pb.h"
#include "gateway/gateway.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "testing/fake_clock.h"
#include "testing/fake_engine.h"

namespace darkroom::testing {

// A gateway on a free loopback port over a fake engine, and a client of it.
class GatewayFixture : public ::testing::Test {
 protected:
  // For tests that want other options; otherwise the first use of stubs starts with the defaults.
  void StartGateway(FakeEngine::Options engine_options = {}, Gateway::Options options = {}) {
    engine_ = std::make_unique<FakeEngine>(engine_options);
    options.address = "127.0.0.1:0";
    options.admin_address = "127.0.0.1:0";
    auto gateway = Gateway::Start(options, *engine_, clock_);
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    channel_ = NewChannel();
    admin_channel_ = ChannelTo(gateway_->admin_port());
    generations_ = v1::GenerationService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
    admin_ = v1::ServerAdminService::NewStub(admin_channel_);
  }

  // A connection of its own. It never widens its windows, so that a client that does not read takes
  // little from the server.
  std::shared_ptr<grpc::Channel> NewChannel() { return ChannelTo(gateway_->port()); }
  static std::shared_ptr<grpc::Channel> ChannelTo(int port) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  static v1::GenerateRequest Goldfish(int steps = 2) {
    v1::GenerateRequest request;
    request.set_prompt("goldfish");
    request.mutable_sampling()->set_steps(steps);
    return request;
  }

  // Creates a generation and returns its name.
  std::string Create(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::CreateGenerationRequest create;
    *create.mutable_request() = request;
    v1::Generation generation;
    const grpc::Status status = generations_->CreateGeneration(&context, create, &generation);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return generation.name();
  }

  // The whole error: what travelled in grpc-status-details-bin.
  static google::rpc::Status Details(const grpc::Status& status) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
    EXPECT_EQ(details.message(), status.error_message());
    return details;
  }
  static std::string Reason(const grpc::Status& status) {
    return status.ok() ? "" : ErrorReason(FromProto(Details(status)));
  }

  // Waits up to 20 s.
  static bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return condition();
  }

  static int64_t ResidentBytes() {
    std::ifstream file("/proc/self/statm");
    int64_t total_pages = 0;
    int64_t resident_pages = 0;
    file >> total_pages >> resident_pages;
    return resident_pages * sysconf(_SC_PAGESIZE);
  }

  FakeClock clock_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Gateway> gateway_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<grpc::Channel> admin_channel_;
  std::unique_ptr<v1::GenerationService::Stub> generations_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::ServerAdminService::Stub> admin_;
};

}  // namespace darkroom::testing
