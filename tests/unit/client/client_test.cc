#include "client/client.h"

#include <chrono>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gateway/gateway.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_engine.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kFirst[] = "tenants/local/generations/g00000001";

class ClientTest : public ::testing::Test {
 protected:
  void Start(bool automatic = true) {
    FakeEngine::Options options;
    options.automatic = automatic;
    engine_ = std::make_unique<FakeEngine>(options);
    Gateway::Options gateway_options;
    gateway_options.address = "127.0.0.1:0";
    gateway_options.admin_address = "127.0.0.1:0";
    auto gateway = Gateway::Start(gateway_options, *engine_, Clock::Real());
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    client_ = std::make_unique<Client>(
        Client::Options{.server = absl::StrCat("127.0.0.1:", gateway_->port()),
                        .admin_server = absl::StrCat("127.0.0.1:", gateway_->admin_port())});
  }
  static v1::GenerateRequest Goldfish() {
    v1::GenerateRequest request;
    request.set_prompt("goldfish");
    return request;
  }

  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, EveryCall) {
  Start();
  const auto created = client_->CreateGeneration(Goldfish());
  ASSERT_TRUE(created.ok()) << created.status();
  std::vector<int64_t> sequences;
  EXPECT_TRUE(client_
                  ->WatchGeneration(
                      kFirst, 1,
                      [&](const v1::GenerateEvent& event) {
                        sequences.push_back(event.sequence());
                        return absl::OkStatus();
                      },
                      nullptr)
                  .ok());
  EXPECT_GT(sequences.at(0), 1);
  EXPECT_EQ(client_->GetGeneration(kFirst, true)->outputs(0).data(),
            FakeEngine::OutputBytes(1000, 0));
  EXPECT_EQ(client_->ListGenerations({})->generations_size(), 1);
  EXPECT_EQ(client_->CancelGeneration(kFirst)->state(), v1::Generation::STATE_SUCCEEDED);
  EXPECT_TRUE(client_->DeleteGeneration(kFirst).ok());
  EXPECT_EQ(client_->GetModel("models/dit")->family(), "DiTPipeline");
  EXPECT_EQ(client_->GetServerInfo()->version(), "0.0.0-fake");
}

TEST_F(ClientTest, AllPagesOfModels) {
  Start();
  std::vector<v1::Model> models;
  for (int i = 0; i < 120; ++i) {
    v1::Model model;
    model.set_name(absl::StrCat("models/m", 100 + i));
    models.push_back(model);
  }
  engine_->SetModels(models);
  EXPECT_EQ(client_->ListModels()->size(), 120);
}

TEST_F(ClientTest, ErrorsKeepTheirDetails) {
  Start();
  engine_->RefuseSubmissions(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "full")
                                 .RetryAfter(absl::Milliseconds(1500)));
  const auto created = client_->CreateGeneration(Goldfish());
  EXPECT_EQ(ErrorReason(created.status()), "QUEUE_FULL");
  EXPECT_EQ(RetryDelay(created.status()), absl::Milliseconds(1500));
  EXPECT_EQ(RetryDelay(absl::UnavailableError("x")), absl::ZeroDuration());
}

TEST_F(ClientTest, NobodyThere) {
  Client client("127.0.0.1:1");
  EXPECT_EQ(ErrorReason(client.GetServerInfo().status()), "SERVER_UNREACHABLE");
  EXPECT_EQ(client.GetServerInfo().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ClientTest, CallbacksErrorBreaksTheStreamOff) {
  Start(/*automatic=*/false);
  const absl::Status status = client_->Generate(
      Goldfish(), [](const v1::GenerateEvent&) { return absl::DataLossError("disk"); }, nullptr);
  EXPECT_EQ(status, absl::DataLossError("disk"));
  for (int i = 0; i < 2000 && engine_->abandoned().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(engine_->abandoned(), ElementsAre(kFirst));
}

TEST_F(ClientTest, CancellerEndsARunningStreamAndEveryLaterOne) {
  Start(/*automatic=*/false);
  Canceller canceller;
  std::thread other;
  const auto wait = [&](const v1::GenerateEvent&) {
    if (!other.joinable()) other = std::thread([&] { canceller.Cancel(); });
    return absl::OkStatus();
  };
  EXPECT_EQ(client_->Generate(Goldfish(), wait, &canceller).code(), absl::StatusCode::kCancelled);
  other.join();
  EXPECT_TRUE(canceller.cancelled());
  int events = 0;
  EXPECT_EQ(client_
                ->Generate(
                    Goldfish(),
                    [&](const v1::GenerateEvent&) {
                      ++events;
                      return absl::OkStatus();
                    },
                    &canceller)
                .code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(events, 0);
}

}  // namespace
}  // namespace darkroom
