// Streams over real connections: whole, slow, broken and many.

#include <atomic>
#include <random>
#include <vector>

#include "gateway_fixture.h"
#include "gmock/gmock.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::darkroom::testing::GatewayFixture;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kFirst[] = "tenants/local/generations/g00000001";

class GatewayStreamTest : public GatewayFixture {
 protected:
  static FakeEngine::Options Manual(int64_t output_bytes = 1000) {
    FakeEngine::Options options;
    options.automatic = false;
    options.output_bytes = output_bytes;
    return options;
  }
};

TEST_F(GatewayStreamTest, GenerateDeliversTheOutputsBytes) {
  FakeEngine::Options options;
  options.output_bytes = (2 << 20) + 17;
  StartGateway(options);
  v1::GenerateRequest request = Goldfish(3);
  request.set_num_images(2);
  grpc::ClientContext context;
  const auto reader = generations_->Generate(&context, request);
  std::vector<std::string> outputs(2);
  int64_t sequence = 0;
  v1::GenerateEvent event;
  bool completed = false;
  while (reader->Read(&event)) {
    EXPECT_GT(event.sequence(), sequence);
    EXPECT_EQ(event.generation(), kFirst);
    sequence = event.sequence();
    if (event.has_output_chunk()) {
      const auto& chunk = event.output_chunk();
      EXPECT_EQ(chunk.offset(), static_cast<int64_t>(outputs.at(chunk.output_index()).size()));
      outputs[chunk.output_index()] += chunk.data();
    }
    completed = event.has_completed();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(completed);
  EXPECT_EQ(outputs[0], FakeEngine::OutputBytes(options.output_bytes, 0));
  EXPECT_EQ(outputs[1], FakeEngine::OutputBytes(options.output_bytes, 1));
  EXPECT_TRUE(Eventually([&] { return gateway_->open_calls() == 0; }));
}

TEST_F(GatewayStreamTest, WatchFollowsALiveGeneration) {
  StartGateway(Manual());
  Create(Goldfish());
  v1::WatchGenerationRequest watch;
  watch.set_name(kFirst);
  grpc::ClientContext context;
  const auto reader = generations_->WatchGeneration(&context, watch);
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_queued());
  engine_->Start(kFirst);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_started());
  engine_->Step(kFirst);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.progress().step(), 1);
  engine_->Fail(kFirst, Error(absl::StatusCode::kInternal, "WORKER_LOST", "lost"));
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.failed().generation().error().message(), "lost");
  EXPECT_FALSE(reader->Read(&event));
  // A failed generation is a well answered watch.
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(engine_->abandoned(), IsEmpty());

  watch.set_after_sequence(-1);
  grpc::ClientContext other;
  EXPECT_EQ(Reason(generations_->WatchGeneration(&other, watch)->Finish()),
            "SEQUENCE_OUT_OF_RANGE");
}

TEST_F(GatewayStreamTest, CancelledCallAbandonsItsGeneration) {
  StartGateway(Manual());
  grpc::ClientContext context;
  const auto reader = generations_->Generate(&context, Goldfish());
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  EXPECT_TRUE(Eventually([&] { return !engine_->abandoned().empty(); }));
  EXPECT_EQ(engine_->Get(kFirst).state(), v1::Generation::STATE_CANCELLED);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return gateway_->open_calls() == 0; }));
}

TEST_F(GatewayStreamTest, WithARequestIdTheGenerationWaitsForARetry) {
  StartGateway(Manual());
  v1::GenerateRequest request = Goldfish();
  request.set_request_id("123e4567-e89b-12d3-a456-426614174000");
  v1::GenerateEvent event;
  {
    grpc::ClientContext context;
    const auto reader = generations_->Generate(&context, request);
    ASSERT_TRUE(reader->Read(&event));
    context.TryCancel();
    reader->Finish();
  }
  EXPECT_TRUE(Eventually([&] { return !engine_->abandoned().empty(); }));
  ASSERT_EQ(engine_->submitted().size(), 1);
  EXPECT_EQ(engine_->submitted()[0].abandon, Engine::Abandon::kCancelAfterGrace);
  EXPECT_EQ(engine_->Get(kFirst).state(), v1::Generation::STATE_QUEUED);
  // The retry attaches and hears everything again.
  grpc::ClientContext context;
  const auto reader = generations_->Generate(&context, request);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.generation(), kFirst);
  EXPECT_EQ(event.sequence(), 1);
  engine_->Finish(kFirst);
  while (reader->Read(&event)) {
  }
  EXPECT_TRUE(event.has_completed());
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GatewayStreamTest, BrokenConnectionAbandonsToo) {
  StartGateway(Manual());
  auto channel = NewChannel();
  auto stub = v1::GenerationService::NewStub(channel);
  auto context = std::make_unique<grpc::ClientContext>();
  auto reader = stub->Generate(context.get(), Goldfish());
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  reader.reset();
  context.reset();
  stub.reset();
  channel.reset();
  EXPECT_TRUE(Eventually([&] { return !engine_->abandoned().empty(); }));
}

TEST_F(GatewayStreamTest, DeadlineEndsTheStream) {
  StartGateway(Manual());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const auto reader = generations_->Generate(&context, Goldfish());
  v1::GenerateEvent event;
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return engine_->abandoned().size() == 1; }));
  EXPECT_EQ(engine_->open_streams(), 0);
}

TEST_F(GatewayStreamTest, DeadlineWhileTheEngineIsBusy) {
  StartGateway(Manual());
  engine_->HoldCallbacks();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  v1::CreateGenerationRequest create;
  *create.mutable_request() = Goldfish();
  v1::Generation generation;
  EXPECT_EQ(generations_->CreateGeneration(&context, create, &generation).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  // The call is held until the engine has answered; nothing dangles meanwhile.
  EXPECT_EQ(gateway_->open_calls(), 1);
  engine_->ReleaseCallbacks();
  EXPECT_TRUE(Eventually([&] { return gateway_->open_calls() == 0; }));
}

// 20 clients that read nothing of 32 MiB each.
TEST_F(GatewayStreamTest, ClientsThatDoNotReadGrowNoMemory) {
  constexpr int kClients = 20;
  StartGateway(Manual(32 << 20));
  struct Client {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::GenerationService::Stub> stub;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> reader;
  };
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < kClients; ++i) {
    auto client = std::make_unique<Client>();
    client->channel = NewChannel();
    client->stub = v1::GenerationService::NewStub(client->channel);
    client->reader = client->stub->Generate(&client->context, Goldfish());
    clients.push_back(std::move(client));
  }
  ASSERT_TRUE(Eventually([&] { return engine_->open_streams() == kClients; }));
  const int64_t before = ResidentBytes();
  std::vector<std::string> names;
  for (int i = 1; i <= kClients; ++i) {
    names.push_back(absl::StrFormat("tenants/local/generations/g%08d", i));
    engine_->Finish(names.back());
  }
  // Until nothing moves any more.
  int64_t read = -1;
  while (read != engine_->outputs_read()) {
    read = engine_->outputs_read();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  // One chunk being sent, one read in advance at most; of 32.
  EXPECT_LE(read, kClients * 2);
  EXPECT_LT(ResidentBytes() - before, int64_t{kClients} * (3 << 20));

  // They were slow, not lost.
  std::string bytes;
  v1::GenerateEvent event;
  while (clients[0]->reader->Read(&event)) bytes += event.output_chunk().data();
  EXPECT_TRUE(clients[0]->reader->Finish().ok());
  EXPECT_EQ(bytes, FakeEngine::OutputBytes(32 << 20, 0));
  for (int i = 1; i < kClients; ++i) {
    clients[i]->context.TryCancel();
    clients[i]->reader->Finish();
  }
  EXPECT_TRUE(Eventually([&] { return engine_->open_streams() == 0; }));
}

TEST_F(GatewayStreamTest, CallsBeyondTheBoundAreRefusedAndThenFreed) {
  Gateway::Options options;
  options.calls_max = 3;
  StartGateway(Manual(), options);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>>> readers;
  v1::GenerateEvent event;
  for (int i = 0; i < 3; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(generations_->Generate(contexts.back().get(), Goldfish()));
    ASSERT_TRUE(readers.back()->Read(&event));
  }
  {
    grpc::ClientContext context;
    v1::ServerInfo info;
    const grpc::Status status = admin_->GetServerInfo(&context, v1::GetServerInfoRequest(), &info);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(Reason(status), "CALLS_TOO_MANY");
    EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1);
  }
  contexts[1]->TryCancel();
  EXPECT_TRUE(Eventually([&] { return gateway_->open_calls() == 2; }));
  grpc::ClientContext context;
  v1::ServerInfo info;
  EXPECT_TRUE(admin_->GetServerInfo(&context, v1::GetServerInfoRequest(), &info).ok());
  for (size_t i = 0; i < readers.size(); ++i) {
    contexts[i]->TryCancel();
    readers[i]->Finish();
  }
}

// What came of one of many clients.
struct Outcome {
  std::string generation;
  bool completed = false;
  grpc::Status status;
};

TEST_F(GatewayStreamTest, TwoHundredStreamsWithRandomCancels) {
  constexpr int kStreams = 200;
  FakeEngine::Options options;
  options.step_ms = 2;
  options.output_bytes = 100'000;
  StartGateway(options);
  const std::string expected = FakeEngine::OutputBytes(options.output_bytes, 0);
  std::vector<Outcome> outcomes(kStreams);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kStreams; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(i);
      // A third never cancels; the others do after 0 to 7 events.
      const int cancel_after = i % 3 == 0 ? 1000 : static_cast<int>(random() % 8);
      grpc::ClientContext context;
      const auto reader = generations_->Generate(&context, Goldfish(4));
      std::string bytes;
      v1::GenerateEvent event;
      int events = 0;
      if (cancel_after == 0) context.TryCancel();
      while (reader->Read(&event)) {
        outcomes[i].generation = event.generation();
        if (event.has_output_chunk()) bytes += event.output_chunk().data();
        if (event.has_completed()) outcomes[i].completed = true;
        if (++events == cancel_after) context.TryCancel();
      }
      outcomes[i].status = reader->Finish();
      if (outcomes[i].status.ok() && bytes != expected) ++wrong;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  for (int i = 0; i < kStreams; ++i) {
    const bool fine = outcomes[i].status.ok() && outcomes[i].completed;
    const bool cancelled = outcomes[i].status.error_code() == grpc::StatusCode::CANCELLED;
    EXPECT_TRUE(fine || (cancelled && i % 3 != 0))
        << i << ": " << outcomes[i].status.error_message();
  }
  EXPECT_TRUE(Eventually([&] { return gateway_->open_calls() == 0; }));
  EXPECT_EQ(engine_->open_streams(), 0);
  // Every generation ended: completed, or cancelled because its client went.
  for (const auto& submit : engine_->submitted()) {
    EXPECT_EQ(submit.abandon, Engine::Abandon::kCancelNow);
  }
  for (size_t i = 1; i <= engine_->submitted().size(); ++i) {
    const auto state = engine_->Get(absl::StrFormat("tenants/local/generations/g%08d", i)).state();
    EXPECT_TRUE(state == v1::Generation::STATE_SUCCEEDED ||
                state == v1::Generation::STATE_CANCELLED);
  }
}

TEST_F(GatewayStreamTest, ShutdownEndsOpenStreamsAfterItsGrace) {
  StartGateway(Manual());
  grpc::ClientContext context;
  const auto reader = generations_->Generate(&context, Goldfish());
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  const auto start = std::chrono::steady_clock::now();
  gateway_->Shutdown(absl::Milliseconds(300));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(290));
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_EQ(engine_->open_streams(), 0);
}

TEST_F(GatewayStreamTest, ShutdownLetsStreamsFinishWithinItsGrace) {
  StartGateway(Manual());
  grpc::ClientContext context;
  const auto reader = generations_->Generate(&context, Goldfish());
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  std::thread finisher([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    engine_->Finish(kFirst);
    while (reader->Read(&event)) {
    }
  });
  gateway_->Shutdown(absl::Seconds(20));
  finisher.join();
  EXPECT_TRUE(event.has_completed());
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GatewayStreamTest, ShutdownWaitsForTheEnginesAnswers) {
  StartGateway(Manual());
  engine_->HoldCallbacks();
  std::thread caller([&] {
    grpc::ClientContext context;
    v1::CreateGenerationRequest create;
    *create.mutable_request() = Goldfish();
    v1::Generation generation;
    EXPECT_FALSE(generations_->CreateGeneration(&context, create, &generation).ok());
  });
  ASSERT_TRUE(Eventually([&] { return gateway_->open_calls() == 1; }));
  std::thread releaser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    engine_->ReleaseCallbacks();
  });
  gateway_->Shutdown(absl::ZeroDuration());
  gateway_.reset();
  caller.join();
  releaser.join();
}

}  // namespace
}  // namespace darkroom
