// The whole daemon in simulated time, with clients that come, go, retry and cancel, workers that
// die and the daemon itself killed at any moment. Everything follows from the seed: a failure names
// it, and DARKROOM_SEED=n runs that one alone. DARKROOM_SEEDS sets how many (default 400).

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/sha256.h"
#include "base/wall_time.h"
#include "engine/job_terms.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/limits.h"
#include "sim/sim_daemon.h"
#include "testing/memory_store.h"

namespace darkroom::sim {
namespace {

int FromEnvironment(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}

// What a client uploads for an input, already as pixels: the simulation decodes nothing.
Payload UploadOf(const v1::GenerateRequest& request, int index) {
  const bool is_mask = request.inputs(index).role() == v1::INPUT_ROLE_MASK;
  std::string pixels(static_cast<size_t>(request.width()) * request.height() * (is_mask ? 1 : 3),
                     '\0');
  for (size_t i = 0; i < pixels.size(); ++i) {
    const auto value = static_cast<size_t>(request.sampling().seed()) * 31 + i * 7;
    pixels[i] = static_cast<char>(is_mask ? (value % 2 == 0 ? 255 : 0) : value % 251);
  }
  return Payload::Copy(pixels);
}

JobInputs InputsOf(const v1::GenerateRequest& request) {
  JobInputs inputs;
  for (int i = 0; i < request.inputs_size(); ++i) {
    const bool is_mask = request.inputs(i).role() == v1::INPUT_ROLE_MASK;
    (is_mask ? inputs.mask : inputs.init_image) = UploadOf(request, i);
  }
  return inputs;
}

// What each picture must be: its request run alone, from start to end, on nothing.
std::string ExpectedSha(const v1::GenerateRequest& request, int output) {
  v1::OpenSlot open;
  open.set_seed(request.sampling().seed() + output);
  open.set_width(request.width());
  open.set_height(request.height());
  open.set_prompt(request.prompt());
  open.set_steps(request.sampling().steps());
  const JobInputs inputs = InputsOf(request);
  uint64_t latents = WithInputs(StartLatents(open), inputs);
  for (int step = 0; step < engine::Evaluations(request); ++step) {
    latents = NextLatents(latents, step, request.sampling().guidance_scale());
  }
  std::string pixels = PictureOf(latents, request.width(), request.height());
  if (request.mask_overlay()) {
    for (size_t i = 0; i < inputs.mask.size(); ++i) {
      if (inputs.mask.bytes()[i] == 0) {
        pixels.replace(3 * i, 3, inputs.init_image.bytes().substr(3 * i, 3));
      }
    }
  }
  return Sha256Hex(pixels);
}

class Clients {
 public:
  struct Plan {
    int requests = 30;
    bool kill_workers = false;
    bool kill_daemon = false;
  };

  Clients(uint64_t seed, Plan plan) : loop_(seed), plan_(plan) {
    SimDaemon::Options options;
    options.workers = static_cast<int>(loop_.Random(1, 3));
    options.slots = static_cast<int>(loop_.Random(1, 8));
    options.checkpoint_steps = static_cast<int>(loop_.Random(1, 6));
    if (plan.kill_workers) options.checkpoint_loss = 0.02;
    if (loop_.Chance(0.5)) options.quantum_ns_max = 30'000'000;
    if (loop_.Chance(0.5)) options.cut_ns = options.quantum_ns_max / 5;
    daemon_ = std::make_unique<SimDaemon>(
        loop_, options,
        std::make_unique<testing::MemoryStore>(std::make_shared<testing::MemoryDisk>()));
  }

  void Run() {
    daemon_->Boot();
    for (int i = 0; i < plan_.requests; ++i) {
      loop_.After(loop_.Random(0, 200'000'000), [this, i] { Ask(i); });
    }
    if (plan_.kill_workers) {
      // One fewer than would make an innocent job look guilty.
      for (int i = 0; i < scheduler::kCrashesMax - 1; ++i) {
        loop_.After(loop_.Random(0, 300'000'000), [this] {
          if (daemon_->up()) daemon_->KillWorker();
        });
      }
    }
    if (plan_.kill_daemon) {
      for (int i = 0; i < 3; ++i) {
        loop_.After(loop_.Random(0, 300'000'000), [this] {
          daemon_->Kill();
          daemon_->Boot();
          // Whoever had no answer asks again.
          for (const auto& [i, request] : unanswered_) {
            loop_.After(loop_.Random(0, 10'000'000), [this, i = i] { Ask(i); });
          }
        });
      }
    }
    // Long after the last of these everything must be quiet.
    const int64_t end_ns = loop_.now_ns() + 120'000'000'000;
    while (loop_.now_ns() < end_ns && loop_.Step()) {
      if (loop_.now_ns() > 2'000'000'000 && daemon_->live() == 0 && unanswered_.empty()) break;
    }
    Check();
  }

  uint64_t digest() const { return daemon_->digest(); }
  int previews_seen() const { return previews_seen_; }
  int plans_revoked() const { return daemon_->plans_revoked(); }
  int cuts() const { return daemon_->cuts(); }
  int slots_resumed() const { return daemon_->slots_resumed(); }

 private:
  v1::GenerateRequest Request(int i) {
    auto [it, fresh] = requests_.try_emplace(i);
    if (!fresh) return it->second;
    v1::GenerateRequest& request = it->second;
    request.set_model("models/sim");
    request.set_prompt(loop_.Chance(0.5) ? "apple" : "rocket");
    request.set_width(static_cast<int32_t>(8 * loop_.Random(1, 6)));
    request.set_height(request.width());
    request.set_num_images(loop_.Chance(0.2) ? 3 : 1);
    request.mutable_sampling()->set_steps(static_cast<int32_t>(loop_.Random(1, 12)));
    request.mutable_sampling()->set_guidance_scale(loop_.Chance(0.5) ? 4.0 : 1.0);
    request.mutable_sampling()->set_seed(loop_.Random(0, 1000));
    request.set_request_id("request-" + std::to_string(i));
    if (loop_.Chance(0.3)) AddInputs(request);
    if (loop_.Chance(0.3)) {
      request.mutable_preview()->set_every_n_steps(static_cast<int32_t>(loop_.Random(1, 4)));
      request.mutable_preview()->set_size_max(64);
    }
    return request;
  }

  void AddInputs(v1::GenerateRequest& request) {
    request.mutable_sampling()->set_strength(0.1 * static_cast<double>(loop_.Random(1, 10)));
    request.mutable_sampling()->set_sampler(loop_.Chance(0.5) ? "flow_match_heun" : "ddim");
    request.add_inputs()->set_role(v1::INPUT_ROLE_INIT);
    if (!loop_.Chance(0.5)) return;
    v1::InputImage& mask = *request.add_inputs();
    mask.set_role(v1::INPUT_ROLE_MASK);
    mask.set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED);
    request.set_mask_overlay(loop_.Chance(0.7));
  }

  void Ask(int i) {
    if (!daemon_->up()) return;
    Engine::Submit submit;
    submit.tenant = "t" + std::to_string(i % 3);
    submit.request = Request(i);
    submit.request_hash = Sha256Hex(submit.request.SerializeAsString());
    submit.inputs = InputsOf(submit.request);
    for (int k = 0; k < submit.request.inputs_size(); ++k) {
      submit.input_bytes.push_back(UploadOf(submit.request, k));
    }
    unanswered_[i] = true;
    daemon_->Submit(submit, [this, i](absl::StatusOr<v1::Generation> result) {
      unanswered_.erase(i);
      ASSERT_TRUE(result.ok()) << result.status();
      const auto [it, first] = acknowledged_.try_emplace(i, result->name());
      EXPECT_EQ(it->second, result->name()) << "a retry made a second generation";
      if (first && loop_.Chance(0.15)) {
        loop_.After(loop_.Random(0, 30'000'000), [this, name = result->name()] { Cancel(name); });
      }
      if (loop_.Chance(0.1)) {
        // A client that retries although it has been answered.
        loop_.After(loop_.Random(0, 30'000'000), [this, i] { Ask(i); });
      }
    });
  }

  void Cancel(const std::string& name) {
    cancelled_[name] = true;
    daemon_->Cancel(name, [](absl::StatusOr<v1::Generation> result) {
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_THAT(result->state(), ::testing::AnyOf(v1::Generation::STATE_CANCELLED,
                                                    v1::Generation::STATE_SUCCEEDED));
    });
  }

  void Check() {
    EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
    EXPECT_EQ(acknowledged_.size(), static_cast<size_t>(plan_.requests)) << "never answered";
    EXPECT_EQ(daemon_->live(), 0u);
    int64_t charged_ns = 0;
    for (const auto& [i, name] : acknowledged_) {
      const auto generation = daemon_->store().Get(name);
      ASSERT_TRUE(generation.ok()) << name << " is lost";
      CheckPreviews(*generation);
      for (const auto& stage : generation->usage().stages()) {
        charged_ns += stage.accelerator_nanos();
      }
      if (generation->state() == v1::Generation::STATE_CANCELLED) {
        EXPECT_TRUE(cancelled_.contains(name)) << name << " was not asked to be cancelled";
        continue;
      }
      ASSERT_EQ(generation->state(), v1::Generation::STATE_SUCCEEDED)
          << generation->ShortDebugString();
      const v1::GenerateRequest& request = generation->request();
      ASSERT_EQ(generation->outputs_size(), std::max(1, request.num_images()));
      EXPECT_EQ(generation->steps_done(), generation->steps_total());
      for (const auto& output : generation->outputs()) {
        EXPECT_EQ(output.sha256(), ExpectedSha(request, output.index())) << "other bits";
        EXPECT_TRUE(daemon_->blobs().contains(name + "/" + std::to_string(output.index())));
      }
    }
    // Promise four, as far as this daemon goes: what ran is charged to someone, to the nanosecond.
    if (!plan_.kill_daemon) {
      EXPECT_EQ(charged_ns, daemon_->reported_busy_ns());
    }
    EXPECT_EQ(daemon_->escrow().reservations(), 0u) << "of generations that are gone";
    EXPECT_THAT(daemon_->escrow().BrokenInvariants(), ::testing::IsEmpty());
    const auto all = daemon_->store().List({"t0", {}, 1000, ""});
    ASSERT_TRUE(all.ok());
    EXPECT_EQ(all->generations.size(), static_cast<size_t>((plan_.requests + 2) / 3))
        << "something was made twice";
  }

  // They come where they are asked for, and no oftener; when the media threads are behind, or a
  // state change is on its way to the store, one is left out.
  void CheckPreviews(const v1::Generation& generation) {
    const v1::GenerateRequest& request = generation.request();
    const auto found = daemon_->previews().find(generation.name());
    const int seen = found == daemon_->previews().end() ? 0 : found->second;
    int due = 0;
    for (int done = 1; done <= engine::Evaluations(request); ++done) {
      due += engine::PreviewDue(request, done) ? std::max(1, request.num_images()) : 0;
    }
    if (due == 0 || !(plan_.kill_workers || plan_.kill_daemon)) {
      EXPECT_LE(seen, due) << generation.name();
    }
    previews_seen_ += seen;
  }

  SimLoop loop_;
  const Plan plan_;
  int previews_seen_ = 0;
  std::unique_ptr<SimDaemon> daemon_;
  std::map<int, v1::GenerateRequest> requests_;
  std::map<int, std::string> acknowledged_;
  std::map<int, bool> unanswered_;
  std::map<std::string, bool> cancelled_;
};

class DaemonSimTest : public ::testing::Test {
 protected:
  static void RunSeeds(Clients::Plan plan) {
    const int only = FromEnvironment("DARKROOM_SEED", 0);
    const int seeds = FromEnvironment("DARKROOM_SEEDS", 400);
    int previews_seen = 0;
    int plans_revoked = 0;
    int cuts = 0;
    int slots_resumed = 0;
    for (int seed = only > 0 ? only : 1; seed <= (only > 0 ? only : seeds); ++seed) {
      SCOPED_TRACE(::testing::Message() << "DARKROOM_SEED=" << seed);
      Clients clients(static_cast<uint64_t>(seed), plan);
      clients.Run();
      if (HasFailure()) return;
      previews_seen += clients.previews_seen();
      plans_revoked += clients.plans_revoked();
      cuts += clients.cuts();
      slots_resumed += clients.slots_resumed();
    }
    // One seed alone may ask for none.
    if (only == 0) {
      EXPECT_GT(previews_seen, seeds) << "too few to have tested anything";
      EXPECT_GT(plans_revoked, seeds / 4) << "too few to have tested anything";
      EXPECT_GT(cuts, seeds) << "too few to have tested anything";
      // Where no worker dies, each is a move.
      EXPECT_GT(slots_resumed, seeds / 4) << "too few to have tested anything";
    }
  }
};

TEST_F(DaemonSimTest, AnswersEveryone) { RunSeeds({}); }

TEST_F(DaemonSimTest, WorkersDie) {
  Clients::Plan plan;
  plan.kill_workers = true;
  RunSeeds(plan);
}

TEST_F(DaemonSimTest, TheDaemonIsKilled) {
  Clients::Plan plan;
  plan.kill_workers = true;
  plan.kill_daemon = true;
  RunSeeds(plan);
}

TEST_F(DaemonSimTest, ASeedReplaysItsRun) {
  Clients::Plan plan;
  plan.kill_workers = true;
  plan.kill_daemon = true;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Clients a(seed, plan);
    Clients b(seed, plan);
    a.Run();
    b.Run();
    EXPECT_EQ(a.digest(), b.digest()) << seed;
  }
}

TEST(DaemonDrainTest, FinishesWhatItAcceptedAndRefusesTheRest) {
  SimLoop loop(1);
  SimDaemon daemon(loop, {},
                   std::make_unique<testing::MemoryStore>(std::make_shared<testing::MemoryDisk>()));
  daemon.Boot();
  // Until its workers are up: what is accepted before that waits in the store for the next start.
  const int64_t up_ns = loop.now_ns() + 100'000'000;
  while (loop.now_ns() < up_ns) ASSERT_TRUE(loop.Step());
  Engine::Submit submit;
  submit.tenant = "t";
  submit.request.set_model("models/sim");
  submit.request.set_width(8);
  submit.request.set_height(8);
  submit.request.mutable_sampling()->set_steps(20);
  std::string name;
  daemon.Submit(submit, [&](absl::StatusOr<v1::Generation> result) { name = result->name(); });
  while (name.empty()) ASSERT_TRUE(loop.Step());
  daemon.Drain();
  absl::StatusOr<v1::Generation> refused = absl::InternalError("not answered");
  daemon.Submit(submit, [&](absl::StatusOr<v1::Generation> result) { refused = result; });
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  while (!daemon.drained()) ASSERT_TRUE(loop.Step());
  EXPECT_EQ(daemon.store().Get(name)->state(), v1::Generation::STATE_SUCCEEDED);
}

// What becomes of a generation whose client's stream broke.
class AbandonTest : public ::testing::Test {
 protected:
  // Submits with this policy, breaks the stream, lets a retry attach after `back_ns` (never if
  // negative), and returns how it ended.
  static v1::Generation::State Abandon(Engine::Abandon policy, int64_t back_ns) {
    SimLoop loop(1);
    SimDaemon daemon(
        loop, {}, std::make_unique<testing::MemoryStore>(std::make_shared<testing::MemoryDisk>()));
    daemon.Boot();
    Engine::Submit submit;
    submit.tenant = "t";
    submit.abandon = policy;
    submit.request.set_model("models/sim");
    submit.request.set_width(8);
    submit.request.set_height(8);
    // Longer than the grace, at 0.2 to 3 ms a step.
    submit.request.mutable_sampling()->set_steps(40'000);
    std::string name;
    daemon.Submit(submit, [&](absl::StatusOr<v1::Generation> result) { name = result->name(); });
    while (name.empty()) loop.Step();
    daemon.Streams(name, false);
    if (back_ns >= 0) loop.After(back_ns, [&] { daemon.Streams(name, true); });
    while (daemon.live() > 0) loop.Step();
    return daemon.store().Get(name)->state();
  }
};

TEST_F(AbandonTest, IsCancelledAtOnceOrAfterTheGraceOrNever) {
  EXPECT_EQ(Abandon(Engine::Abandon::kCancelNow, -1), v1::Generation::STATE_CANCELLED);
  EXPECT_EQ(Abandon(Engine::Abandon::kCancelAfterGrace, -1), v1::Generation::STATE_CANCELLED);
  EXPECT_EQ(Abandon(Engine::Abandon::kCancelAfterGrace, 20'000'000'000),
            v1::Generation::STATE_SUCCEEDED);
  EXPECT_EQ(Abandon(Engine::Abandon::kKeep, -1), v1::Generation::STATE_SUCCEEDED);
}

TEST(DaemonQueueTest, RefusesBeyondTheTenantsLimitAndRecovers) {
  SimLoop loop(1);
  SimDaemon::Options options;
  options.generations_max = 3;
  SimDaemon daemon(loop, options,
                   std::make_unique<testing::MemoryStore>(std::make_shared<testing::MemoryDisk>()));
  daemon.Boot();
  int accepted = 0;
  int refused = 0;
  auto submit = [&](const std::string& tenant) {
    Engine::Submit submit;
    submit.tenant = tenant;
    submit.request.set_model("models/sim");
    submit.request.set_width(8);
    submit.request.set_height(8);
    submit.request.mutable_sampling()->set_steps(2);
    daemon.Submit(submit, [&](absl::StatusOr<v1::Generation> result) {
      if (!result.ok()) {
        EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted);
      }
      ++(result.ok() ? accepted : refused);
    });
  };
  for (int i = 0; i < 5; ++i) submit("a");
  submit("b");
  while (accepted < 4 || daemon.live() > 0) ASSERT_TRUE(loop.Step());
  EXPECT_EQ(refused, 2);
  submit("a");
  while (accepted < 5) ASSERT_TRUE(loop.Step());
}

// Two tenants that always want more than there is, and one worker for both.
class DaemonTenantsTest : public ::testing::Test {
 protected:
  static engine::TenantPolicy Tenant(const std::string& name, double weight) {
    engine::TenantPolicy policy;
    policy.name = name;
    policy.weight = weight;
    return policy;
  }

  DaemonTenantsTest() : loop_(1) {
    options_.workers = 1;
    options_.policy.burst_credit_ns = 0;
    options_.tenants = {Tenant("light", 1), Tenant("heavy", 3)};
  }
  void Boot() {
    daemon_ = std::make_unique<SimDaemon>(
        loop_, options_,
        std::make_unique<testing::MemoryStore>(std::make_shared<testing::MemoryDisk>()));
    daemon_->Boot();
    const int64_t up_ns = loop_.now_ns() + 100'000'000;
    while (loop_.now_ns() < up_ns) ASSERT_TRUE(loop_.Step());
  }
  void Submit(const std::string& tenant, int steps = 10) {
    Engine::Submit submit;
    submit.tenant = tenant;
    submit.request.set_model("models/sim");
    // As many tokens as one step may hold.
    submit.request.set_width(64);
    submit.request.set_height(64);
    submit.request.mutable_sampling()->set_steps(steps);
    submit.request.mutable_sampling()->set_guidance_scale(1);
    daemon_->Submit(submit, [this, tenant](absl::StatusOr<v1::Generation> result) {
      (result.ok() ? accepted_ : refused_)[tenant].push_back(result.status());
    });
  }

  SimLoop loop_;
  SimDaemon::Options options_;
  std::unique_ptr<SimDaemon> daemon_;
  std::map<std::string, std::vector<absl::Status>> accepted_;
  std::map<std::string, std::vector<absl::Status>> refused_;
};

TEST_F(DaemonTenantsTest, ShareByTheirWeights) {
  Boot();
  for (int i = 0; i < 120; ++i) {
    Submit("light");
    Submit("heavy");
  }
  while (daemon_->steps().contains("heavy") ? daemon_->steps().at("heavy") < 900 : true) {
    ASSERT_TRUE(loop_.Step());
  }
  const double light = daemon_->steps().at("light");
  EXPECT_NEAR(light / 900, 1.0 / 3, 0.04);
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
}

TEST_F(DaemonTenantsTest, ATenantAtItsLimitIsRefusedAndTheOtherIsNot) {
  options_.tenants[0].generations_max = 2;
  options_.tenants[1].generations_per_second = 1;
  options_.tenants[1].generations_burst = 3;
  Boot();
  for (int i = 0; i < 5; ++i) {
    Submit("light");
    Submit("heavy");
  }
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  EXPECT_EQ(accepted_["light"].size(), 2u);
  EXPECT_EQ(accepted_["heavy"].size(), 3u);
  for (const auto& [tenant, reason] :
       {std::pair("light", "QUEUE_FULL"), std::pair("heavy", "TENANT_RATE")}) {
    for (const absl::Status& status : refused_[tenant]) {
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
      EXPECT_EQ(ErrorReason(status), reason);
      EXPECT_TRUE(status.GetPayload("type.googleapis.com/google.rpc.RetryInfo")) << status;
    }
  }
  const int64_t later_ns = loop_.now_ns() + 1'000'000'000;
  while (loop_.now_ns() < later_ns) ASSERT_TRUE(loop_.Step());
  Submit("light");
  Submit("heavy");
  while (daemon_->live() > 0 || accepted_["heavy"].size() < 4) ASSERT_TRUE(loop_.Step());
  EXPECT_EQ(accepted_["light"].size(), 3u);
}

TEST_F(DaemonTenantsTest, ADedicatedTenantHasItsOwnWorkers) {
  options_.tenants[1].isolation = scheduler::Isolation::kDedicated;
  options_.tenants[1].dedicated_workers = 1;
  Boot();
  EXPECT_EQ(daemon_->Describe().workers_size(), 2);
  for (int i = 0; i < 30; ++i) Submit("light");
  Submit("heavy");
  // It waits for none of the hundred before it.
  while (!daemon_->steps().contains("heavy") || daemon_->steps().at("heavy") < 10) {
    ASSERT_TRUE(loop_.Step());
  }
  EXPECT_LT(daemon_->steps().at("light"), 100);
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
}

TEST_F(DaemonTenantsTest, ANewWeightHoldsForWhatWaits) {
  options_.tenants[1].weight = 1;
  Boot();
  for (int i = 0; i < 120; ++i) {
    Submit("light");
    Submit("heavy");
  }
  while (!daemon_->steps().contains("heavy") || daemon_->steps().at("heavy") < 100) {
    ASSERT_TRUE(loop_.Step());
  }
  daemon_->SetTenant(Tenant("heavy", 3));
  const int light = daemon_->steps().at("light");
  const int heavy = daemon_->steps().at("heavy");
  EXPECT_NEAR(1.0 * light / heavy, 1.0, 0.2);
  while (daemon_->steps().at("heavy") < heavy + 750) ASSERT_TRUE(loop_.Step());
  EXPECT_NEAR((daemon_->steps().at("light") - light) / 750.0, 1.0 / 3, 0.07);
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
}

TEST_F(DaemonTenantsTest, ATenantGoesWithAllThatItHasAndTheOtherNoticesNothing) {
  Boot();
  for (int i = 0; i < 20; ++i) {
    Submit("light");
    Submit("heavy");
  }
  while (!daemon_->steps().contains("heavy")) ASSERT_TRUE(loop_.Step());
  // Also what is on its way to the store just now.
  for (int i = 0; i < 5; ++i) Submit("heavy");
  std::optional<absl::Status> gone;
  daemon_->RemoveTenant("heavy",
                        [&](absl::StatusOr<v1::Generation> done) { gone = done.status(); });
  Submit("heavy");
  while (!gone) ASSERT_TRUE(loop_.Step());
  EXPECT_TRUE(gone->ok()) << *gone;
  const auto ended = daemon_->store().List({.tenant = "heavy"});
  EXPECT_EQ(ended->generations.size(), 25u);
  for (const auto& generation : ended->generations) {
    EXPECT_EQ(generation.state(), v1::Generation::STATE_FAILED);
    EXPECT_EQ(ErrorReason(FromProto(generation.error())), "TENANT_DELETED");
  }
  ASSERT_EQ(refused_["heavy"].size(), 1u);
  EXPECT_EQ(ErrorReason(refused_["heavy"][0]), "TENANT_NOT_FOUND");
  EXPECT_EQ(accepted_["heavy"].size(), 25u);
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  const auto others = daemon_->store().List({.tenant = "light"});
  EXPECT_EQ(others->generations.size(), 20u);
  for (const auto& generation : others->generations) {
    EXPECT_EQ(generation.state(), v1::Generation::STATE_SUCCEEDED);
  }
  // One of the same name may come again.
  daemon_->SetTenant(Tenant("heavy", 1));
  Submit("heavy");
  while (daemon_->live() > 0 || accepted_["heavy"].size() < 26) ASSERT_TRUE(loop_.Step());
  EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
}

// Deadlines, guarantees and forecasts, over a daemon whose costs are known.
class DaemonPromiseTest : public DaemonTenantsTest {
 protected:
  DaemonPromiseTest() {
    options_.tenants = {Tenant("gold", 1), Tenant("plain", 1)};
    options_.tenants[0].service_class = scheduler::ServiceClass::kGuaranteed;
  }
  Engine::Submit Request(const std::string& tenant, int steps, double deadline_seconds,
                         int images = 1) {
    Engine::Submit submit;
    submit.tenant = tenant;
    submit.request.set_model("models/sim");
    submit.request.set_width(64);
    submit.request.set_height(64);
    submit.request.set_num_images(images);
    submit.request.mutable_sampling()->set_steps(steps);
    submit.request.mutable_sampling()->set_guidance_scale(1);
    if (deadline_seconds > 0) {
      *submit.request.mutable_deadline() =
          ToTimestamp(daemon_->WallTime() + absl::Seconds(deadline_seconds));
    }
    return submit;
  }
  absl::StatusOr<v1::Generation> Create(const Engine::Submit& submit) {
    std::optional<absl::StatusOr<v1::Generation>> answer;
    daemon_->Submit(submit, [&](absl::StatusOr<v1::Generation> result) { answer = result; });
    while (!answer) loop_.Step();
    return *answer;
  }
  // So that costs are known and not guessed.
  void Learn() {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(Create(Request("plain", 20, 0)).ok());
    while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  }
  static v1::AdmissionOffer OfferOf(const absl::Status& status) {
    v1::AdmissionOffer offer;
    const auto payload = status.GetPayload("type.googleapis.com/darkroom.v1.AdmissionOffer");
    EXPECT_TRUE(payload.has_value()) << status;
    if (payload) {
      EXPECT_TRUE(offer.ParseFromString(std::string(*payload)));
    }
    return offer;
  }
};

TEST_F(DaemonPromiseTest, WhatIsOfferedIsTaken) {
  options_.slots = 64;  // where none is free, none can be promised
  Boot();
  Learn();
  // Promises until no more fit into the next second, each of several pictures.
  absl::Status refused;
  int taken = 0;
  for (; taken < 100 && refused.ok(); ++taken) {
    refused = Create(Request("gold", 30, 1.0, 3)).status();
  }
  ASSERT_GT(taken, 1);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(refused), "NO_GUARANTEE");
  EXPECT_TRUE(refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  const v1::AdmissionOffer offer = OfferOf(refused);
  ASSERT_TRUE(offer.has_earliest_deadline());
  Engine::Submit again = Request("gold", 30, 1.0, 3);
  *again.request.mutable_deadline() = offer.earliest_deadline();
  const auto generation = Create(again);
  EXPECT_TRUE(generation.ok()) << generation.status();
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
}

TEST_F(DaemonPromiseTest, AGuaranteeIsKeptBesideOthers) {
  Boot();
  Learn();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Create(Request("plain", 30, 0)).ok());
  const auto promised = Create(Request("gold", 30, 0.5));
  ASSERT_TRUE(promised.ok()) << promised.status();
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  const auto ended = daemon_->store().Get(promised->name());
  EXPECT_EQ(ended->state(), v1::Generation::STATE_SUCCEEDED);
  EXPECT_LE(FromTimestamp(ended->end_time()), FromTimestamp(promised->request().deadline()));
}

TEST_F(DaemonPromiseTest, ARetryFindsItsGenerationWhateverANewOneIsRefusedFor) {
  options_.tenants[0].generations_max = 1;
  Boot();
  Learn();
  // At once, as the retry of a client that was too quick, and when all of it is over.
  for (const int64_t later_ns : {int64_t{0}, int64_t{100'000'000}, int64_t{5'000'000'000}}) {
    Engine::Submit submit = Request("gold", 30, 2);
    submit.request.set_service_class(v1::SERVICE_CLASS_TARGET);
    submit.request.set_request_id(absl::StrCat("request-", later_ns));
    submit.request_hash = "hash";
    std::vector<absl::StatusOr<v1::Generation>> answers;
    const auto keep = [&](absl::StatusOr<v1::Generation> result) { answers.push_back(result); };
    daemon_->Submit(submit, keep);
    loop_.After(later_ns, [&] {
      daemon_->Submit(submit, keep);
      submit.request_hash = "another";
      daemon_->Submit(submit, keep);
      submit.request.set_request_id("a-new-one");
      daemon_->Submit(submit, keep);
    });
    while (answers.size() < 4 || daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
    ASSERT_TRUE(answers[0].ok()) << answers[0].status();
    ASSERT_TRUE(answers[1].ok()) << later_ns << ": " << answers[1].status();
    EXPECT_EQ(answers[1]->name(), answers[0]->name());
    EXPECT_EQ(ErrorReason(answers[2].status()), "REQUEST_ID_REUSED") << later_ns;
    EXPECT_EQ(ErrorReason(answers[3].status()),
              later_ns > 2'000'000'000 ? "DEADLINE_PASSED" : "QUEUE_FULL");
  }
  EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
}

TEST_F(DaemonPromiseTest, AClassAboveTheTenantsIsRefused) {
  Boot();
  Engine::Submit submit = Request("plain", 10, 5);
  submit.request.set_service_class(v1::SERVICE_CLASS_GUARANTEED);
  EXPECT_EQ(ErrorReason(Create(submit).status()), "SERVICE_CLASS_NOT_ALLOWED");
  submit.tenant = "gold";
  EXPECT_TRUE(Create(submit).ok());
}

TEST_F(DaemonPromiseTest, ADeadlineOutOfReachIsRefusedWithWhatIsNot) {
  Boot();
  Learn();
  Engine::Submit submit = Request("gold", 100, 0.05);
  submit.request.set_service_class(v1::SERVICE_CLASS_TARGET);
  const absl::Status refused = Create(submit).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(refused), "DEADLINE_TOO_SOON");
  const v1::AdmissionOffer offer = OfferOf(refused);
  EXPECT_GT(offer.steps_max(), 0);
  // At this very moment; later, the same deadlines are nearer.
  Engine::Submit shorter = submit;
  shorter.request.mutable_sampling()->set_steps(offer.steps_max());
  EXPECT_FALSE(daemon_->Estimate(shorter).has_refusal());
  shorter.request.mutable_sampling()->set_steps(offer.steps_max() + 1);
  EXPECT_TRUE(daemon_->Estimate(shorter).has_refusal());
  *submit.request.mutable_deadline() = offer.earliest_deadline();
  EXPECT_TRUE(Create(submit).ok());
}

TEST_F(DaemonPromiseTest, AnEstimateIsTheAdmissionsAnswerAndChangesNothing) {
  Boot();
  Learn();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Create(Request("plain", 30, 0)).ok());
  const auto before = daemon_->Describe();
  const auto estimate = daemon_->Estimate(Request("plain", 30, 0));
  EXPECT_FALSE(estimate.has_refusal());
  EXPECT_EQ(estimate.forecast().wait_reason(), v1::WAIT_REASON_CAPACITY);
  EXPECT_GT(estimate.accelerator_nanos(), 0);
  EXPECT_EQ(daemon_->Describe().jobs_queued(), before.jobs_queued());
  EXPECT_EQ(daemon_->live(), 10u);
  const auto again = daemon_->Estimate(Request("plain", 30, 0));
  EXPECT_EQ(again.SerializeAsString(), estimate.SerializeAsString());

  const auto refused = daemon_->Estimate(Request("gold", 1000, 0.01));
  ASSERT_TRUE(refused.has_refusal());
  EXPECT_EQ(ErrorReason(FromProto(refused.refusal())), "DEADLINE_TOO_SOON");
  EXPECT_TRUE(refused.forecast().has_end_time()) << "as it would be without a deadline";
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  EXPECT_THAT(daemon_->complaints(), ::testing::IsEmpty());
}

TEST_F(DaemonPromiseTest, ARestartKeepsWhatHasBecomeLate) {
  Boot();
  Learn();
  const auto generation = Create(Request("gold", 30, 0.5));
  ASSERT_TRUE(generation.ok()) << generation.status();
  daemon_->Kill();
  const int64_t later_ns = loop_.now_ns() + 2'000'000'000;
  loop_.After(2'000'000'000, [] {});
  while (loop_.now_ns() < later_ns) ASSERT_TRUE(loop_.Step());
  daemon_->Boot();
  while (daemon_->live() > 0) ASSERT_TRUE(loop_.Step());
  EXPECT_EQ(daemon_->store().Get(generation->name())->state(), v1::Generation::STATE_SUCCEEDED);
}

}  // namespace
}  // namespace darkroom::sim
