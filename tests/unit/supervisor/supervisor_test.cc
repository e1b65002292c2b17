#include "supervisor/supervisor.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "testing/descriptors.h"
#include "testing/recording_sink.h"

namespace darkroom {
namespace {

using testing::RecordingSink;

constexpr int64_t kMs = 1'000'000;

WorkerSpec FakeWorker(std::vector<std::string> args = {}) {
  WorkerSpec spec;
  spec.program = DARKROOM_BIN_DIR "/darkroom-fake-worker";
  spec.args = std::move(args);
  return spec;
}

v1::ToWorker PingMessage(uint64_t nonce) {
  v1::ToWorker message;
  message.mutable_ping()->set_nonce(nonce);
  return message;
}

v1::ToWorker LoadMessage(int slots) {
  v1::ToWorker message;
  message.mutable_load_model()->set_name("models/fake");
  message.mutable_load_model()->set_precision("f32");
  message.mutable_load_model()->set_slots(slots);
  return message;
}

v1::ToWorker OpenMessage(uint32_t slot, uint64_t epoch, const std::string& prompt) {
  v1::ToWorker message;
  v1::OpenSlot& open = *message.mutable_open_slot();
  open.set_slot(slot);
  open.set_lease_epoch(epoch);
  open.set_width(64);
  open.set_height(64);
  open.set_prompt(prompt);
  open.set_guidance_scale(4);
  open.set_steps(1000);
  return message;
}

v1::ToWorker PlanMessage(uint64_t sequence, v1::Stage stage, uint32_t slot, uint64_t epoch,
                         int step) {
  v1::ToWorker message;
  v1::BatchPlan& plan = *message.mutable_plan();
  plan.set_gang_epoch(1);
  plan.set_sequence(sequence);
  plan.set_stage(stage);
  v1::PlanJob& job = *plan.add_jobs();
  job.set_slot(slot);
  job.set_lease_epoch(epoch);
  job.set_step_index(step);
  return message;
}

// State letter of a process ("T": stopped), empty when there is none.
std::string ProcessState(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (absl::StartsWith(line, "State:")) return line.substr(7, 1);
  }
  return "";
}

class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorTest() { Reset({}); }

  void Reset(const Supervisor::Options& options) {
    pool_.reset();
    auto pool = Supervisor::Create(sink_, options);
    EXPECT_TRUE(pool.ok()) << pool.status();
    pool_ = *std::move(pool);
  }

  // Starts a worker, waits for its Hello and returns its pid.
  pid_t StartAndGreet(WorkerId worker, std::vector<std::string> args = {}) {
    pool_->Start(worker, FakeWorker(std::move(args)));
    const auto said = sink_.Next(worker, v1::FromWorker::kHello);
    EXPECT_GT(said.message.hello().pid(), 0);
    return said.message.hello().pid();
  }

  RecordingSink sink_;
  std::unique_ptr<Supervisor> pool_;
};

TEST_F(SupervisorTest, StartsGreetsTalksAndStops) {
  const pid_t pid = StartAndGreet(1);
  EXPECT_NE(::getpgid(pid), ::getpgid(0)) << "the terminal's signals would reach it";
  ASSERT_TRUE(pool_->Send(1, PingMessage(42), {}));
  EXPECT_EQ(sink_.Next(1, v1::FromWorker::kPong).message.pong().nonce(), 42u);
  pool_->Stop(1, 5000);
  const auto lost = sink_.WaitLost(1);
  EXPECT_EQ(lost.cause, LostCause::kStopped) << lost.detail;
  EXPECT_TRUE(absl::StrContains(lost.detail, "exit code 0")) << lost.detail;
  EXPECT_EQ(ProcessState(pid), "") << "not reaped";
  EXPECT_FALSE(pool_->Send(1, PingMessage(43), {}));
}

TEST_F(SupervisorTest, TheChildGetsItsSocketAndNothingElse) {
  // A descriptor that somebody forgot to mark close-on-exec.
  const int stray = ::dup(0);
  ASSERT_GE(stray, 0);
  const pid_t pid = StartAndGreet(1);
  // Not dumpable: its descriptors are root's to see. Without that right the test has nothing to
  // ask.
  const std::string folder = absl::StrCat("/proc/", pid, "/fd/");
  if (::access(folder.c_str(), R_OK | X_OK) == 0) {
    struct stat info {};
    EXPECT_EQ(::stat((folder + "3").c_str(), &info), 0);
    EXPECT_TRUE(S_ISSOCK(info.st_mode));
    EXPECT_NE(::lstat(absl::StrCat(folder, stray > 3 ? stray : 4).c_str(), &info), 0);
  }
  ::close(stray);
}

TEST_F(SupervisorTest, KillNineIsNoticedWithin100Ms) {
  constexpr int kRounds = 10;
  std::vector<int64_t> took_ns;
  for (int i = 0; i < kRounds; ++i) {
    const pid_t pid = StartAndGreet(i);
    const int64_t killed_ns = Clock::Real().MonotonicNanos();
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    const auto lost = sink_.WaitLost(i);
    EXPECT_EQ(lost.cause, LostCause::kKilled);
    EXPECT_EQ(lost.detail, "signal 9");
    took_ns.push_back(lost.at_ns - killed_ns);
  }
  std::sort(took_ns.begin(), took_ns.end());
  std::printf("death noticed after: median %.2f ms, worst %.2f ms\n",
              static_cast<double>(took_ns[kRounds / 2]) / 1e6,
              static_cast<double>(took_ns.back()) / 1e6);
  EXPECT_LT(took_ns.back(), 100 * kMs);
}

TEST_F(SupervisorTest, AStoppedProcessIsKilled) {
  const pid_t pid = StartAndGreet(1);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  while (ProcessState(pid) != "T") std::this_thread::yield();
  const int64_t killed_ns = Clock::Real().MonotonicNanos();
  pool_->Kill(1);
  const auto lost = sink_.WaitLost(1);
  EXPECT_EQ(lost.cause, LostCause::kKilled) << lost.detail;
  EXPECT_LT(lost.at_ns - killed_ns, 100 * kMs);
}

TEST_F(SupervisorTest, AStoppedProcessIsKilledAfterTheGrace) {
  const pid_t pid = StartAndGreet(1);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  const int64_t asked_ns = Clock::Real().MonotonicNanos();
  pool_->Stop(1, 200);
  const auto lost = sink_.WaitLost(1);
  EXPECT_EQ(lost.cause, LostCause::kStopped) << lost.detail;
  EXPECT_TRUE(absl::StrContains(lost.detail, "signal 9")) << lost.detail;
  EXPECT_GE(lost.at_ns - asked_ns, 200 * kMs);
  EXPECT_LT(lost.at_ns - asked_ns, 1000 * kMs);
}

TEST_F(SupervisorTest, StopLetsTheRunningPlanFinish) {
  StartAndGreet(1, {"--step-us", "150000", "--probe-us", "0"});
  ASSERT_TRUE(pool_->Send(1, LoadMessage(1), {}));
  ASSERT_TRUE(pool_->Send(1, OpenMessage(0, 1, ""), {}));
  ASSERT_TRUE(pool_->Send(1, PlanMessage(1, v1::STAGE_ENCODE, 0, 1, 0), {}));
  ASSERT_TRUE(pool_->Send(1, PlanMessage(2, v1::STAGE_DENOISE, 0, 1, 0), {}));
  ASSERT_TRUE(pool_->Send(1, PlanMessage(3, v1::STAGE_DENOISE, 0, 1, 1), {}));
  sink_.Next([](const auto& said) { return said.message.plan_started().sequence() == 2; });
  pool_->Stop(1, 5000);
  const auto ran = sink_.Next(1, v1::FromWorker::kPlanDone).message.plan_done();
  EXPECT_EQ(ran.sequence(), 2u);
  EXPECT_FALSE(ran.revoked());
  const auto waited = sink_.Next(1, v1::FromWorker::kPlanDone).message.plan_done();
  EXPECT_EQ(waited.sequence(), 3u);
  EXPECT_TRUE(waited.revoked());
  const auto lost = sink_.WaitLost(1);
  EXPECT_TRUE(absl::StrContains(lost.detail, "exit code 0")) << lost.detail;
}

TEST_F(SupervisorTest, BadStartsAreLostOnceWithTheirCause) {
  Supervisor::Options options;
  options.hello_timeout_ns = 300 * kMs;
  Reset(options);
  struct Case {
    const char* start;
    LostCause cause;
    const char* detail;
  };
  const std::vector<Case> cases = {
      {"exit", LostCause::kStartFailed, "exit code 7 before Hello"},
      {"silent", LostCause::kStartFailed, "no Hello in time"},
      {"garbage", LostCause::kProtocol, "a frame of 4294967295 bytes"},
      {"version", LostCause::kProtocol, "protocol version 999"},
      {"empty", LostCause::kProtocol, "an empty message"},
      {"close", LostCause::kProtocol, "said that it ends and did not"},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    pool_->Start(static_cast<WorkerId>(i), FakeWorker({"--start", cases[i].start}));
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto lost = sink_.WaitLost(static_cast<WorkerId>(i));
    EXPECT_EQ(lost.cause, cases[i].cause) << cases[i].start << ": " << lost.detail;
    EXPECT_TRUE(absl::StrContains(lost.detail, cases[i].detail)) << lost.detail;
  }
  pool_.reset();
  EXPECT_EQ(sink_.lost().size(), cases.size());
}

TEST_F(SupervisorTest, AProgramThatIsNotThereIsAStartFailed) {
  WorkerSpec spec = FakeWorker();
  spec.program += "-missing";
  pool_->Start(1, spec);
  EXPECT_EQ(sink_.WaitLost(1).cause, LostCause::kStartFailed);
}

TEST_F(SupervisorTest, ACrashInAStepKeepsWhatWasSaidBefore) {
  StartAndGreet(1, {"--step-us", "0", "--probe-us", "0"});
  pool_->Send(1, LoadMessage(1), {});
  pool_->Send(1, OpenMessage(0, 1, "crash@2"), {});
  pool_->Send(1, PlanMessage(1, v1::STAGE_ENCODE, 0, 1, 0), {});
  for (int step = 0; step < 4; ++step) {
    pool_->Send(1, PlanMessage(2 + step, v1::STAGE_DENOISE, 0, 1, step), {});
  }
  const auto lost = sink_.WaitLost(1);
  EXPECT_EQ(lost.cause, LostCause::kKilled);
  EXPECT_EQ(lost.detail, absl::StrCat("signal ", SIGABRT));
  EXPECT_EQ(sink_.lost().size(), 1u);
  // Steps 0 and 1 were done and step 2 begun, and all of that was told before the loss.
  uint64_t done = 0;
  for (int i = 0; i < 3; ++i) {
    done = sink_.Next(1, v1::FromWorker::kPlanDone).message.plan_done().sequence();
  }
  EXPECT_EQ(done, 3u);
  EXPECT_EQ(sink_.Next(1, v1::FromWorker::kPlanStarted).message.plan_started().sequence(), 4u);
}

TEST_F(SupervisorTest, ADeviceFailureIsToldAndEndsTheWorker) {
  StartAndGreet(1, {"--step-us", "0", "--probe-us", "0"});
  pool_->Send(1, LoadMessage(1), {});
  pool_->Send(1, OpenMessage(0, 1, "device@encode"), {});
  pool_->Send(1, PlanMessage(1, v1::STAGE_ENCODE, 0, 1, 0), {});
  EXPECT_NE(sink_.Next(1, v1::FromWorker::kFatal).message.fatal().code(), 0);
  const auto lost = sink_.WaitLost(1);
  EXPECT_EQ(lost.cause, LostCause::kExited) << lost.detail;
  EXPECT_EQ(lost.detail, "exit code 1");
}

TEST_F(SupervisorTest, AWorkerThatDoesNotReadIsLostAndNobodyBlocks) {
  StartAndGreet(1, {"--start", "deaf"});
  const pid_t other = StartAndGreet(2);
  v1::ToWorker heavy;
  heavy.mutable_open_slot()->set_prompt(std::string(10'000, 'x'));
  const int64_t begin_ns = Clock::Real().MonotonicNanos();
  int sent = 0;
  while (sent < 100'000 && pool_->Send(1, heavy, {})) ++sent;
  EXPECT_GT(sent, 100);
  EXPECT_LT(sent, 100'000);
  EXPECT_LT(Clock::Real().MonotonicNanos() - begin_ns, 2000 * kMs);
  const auto lost = sink_.WaitLost(1);
  EXPECT_EQ(lost.cause, LostCause::kProtocol);
  EXPECT_TRUE(absl::StrContains(lost.detail, "does not read")) << lost.detail;
  ASSERT_TRUE(pool_->Send(2, PingMessage(1), {}));
  EXPECT_EQ(sink_.Next(2, v1::FromWorker::kPong).worker, 2);
  EXPECT_NE(ProcessState(other), "");
}

TEST_F(SupervisorTest, ABusyWorkerDrainsAQueueLargerThanTheSocket) {
  StartAndGreet(1);
  // Far more than a socket buffer, so that most of it goes by way of EPOLLOUT.
  constexpr uint64_t kPings = 800;
  v1::ToWorker padded = PingMessage(0);
  // Unknown fields travel along: 8 KiB each.
  padded.mutable_ping()
      ->GetReflection()
      ->MutableUnknownFields(padded.mutable_ping())
      ->AddLengthDelimited(1000, std::string(8192, 'x'));
  for (uint64_t nonce = 1; nonce <= kPings; ++nonce) {
    padded.mutable_ping()->set_nonce(nonce);
    ASSERT_TRUE(pool_->Send(1, padded, {})) << nonce;
  }
  for (uint64_t nonce = 1; nonce <= kPings; ++nonce) {
    ASSERT_EQ(sink_.Next(1, v1::FromWorker::kPong).message.pong().nonce(), nonce);
  }
}

TEST_F(SupervisorTest, KillBeforeItRunsAndUnknownWorkersAreHarmless) {
  pool_->Kill(99);
  pool_->Stop(99, 10);
  EXPECT_FALSE(pool_->Send(99, PingMessage(1), {}));
  for (WorkerId worker = 0; worker < 20; ++worker) {
    pool_->Start(worker, FakeWorker());
    pool_->Kill(worker);
  }
  for (WorkerId worker = 0; worker < 20; ++worker) {
    EXPECT_EQ(sink_.WaitLost(worker).cause, LostCause::kKilled);
  }
}

TEST_F(SupervisorTest, ClosingThePoolEndsEveryWorkerAndTellsSo) {
  std::vector<pid_t> pids;
  for (WorkerId worker = 0; worker < 4; ++worker) pids.push_back(StartAndGreet(worker));
  pool_.reset();
  EXPECT_EQ(sink_.lost().size(), 4u);
  for (const auto& lost : sink_.lost()) EXPECT_EQ(lost.cause, LostCause::kStopped);
  for (const pid_t pid : pids) EXPECT_EQ(ProcessState(pid), "");
}

TEST_F(SupervisorTest, TwoHundredLivesLeakNothing) {
  const int before = testing::OpenDescriptors();
  for (WorkerId worker = 0; worker < 200; ++worker) {
    const pid_t pid = StartAndGreet(worker);
    if (worker % 2 == 0) {
      pool_->Stop(worker, 5000);
    } else {
      ASSERT_EQ(::kill(pid, SIGKILL), 0);
    }
    sink_.WaitLost(worker);
  }
  EXPECT_EQ(sink_.lost().size(), 200u);
  // The pool's thread lets go of the last one just after it has told of its loss.
  for (int wait = 0; testing::OpenDescriptors() != before && wait < 1000; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(testing::OpenDescriptors(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(SupervisorTest, ManyThreadsSendWhileWorkersDie) {
  constexpr int kWorkers = 4;
  for (WorkerId worker = 0; worker < kWorkers; ++worker) StartAndGreet(worker);
  std::vector<std::thread> senders;
  for (WorkerId worker = 0; worker < kWorkers; ++worker) {
    for (int i = 0; i < 2; ++i) {
      senders.emplace_back([&, worker] {
        for (uint64_t nonce = 0; pool_->Send(worker, PingMessage(nonce), {}); ++nonce) {
          // A worker answers each; the sink keeps up because it only stores them.
          if (nonce % 64 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      });
    }
  }
  for (WorkerId worker = 0; worker < kWorkers; ++worker) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (worker % 2 == 0) {
      pool_->Kill(worker);
    } else {
      pool_->Stop(worker, 1000);
    }
  }
  for (std::thread& sender : senders) sender.join();
  for (WorkerId worker = 0; worker < kWorkers; ++worker) sink_.WaitLost(worker);
  EXPECT_EQ(sink_.lost().size(), static_cast<size_t>(kWorkers));
}

// What the processes and the protocol add to a step: the time from Send to PlanDone of a plan whose
// step takes none.
TEST_F(SupervisorTest, PlanRoundTrip) {
  StartAndGreet(1, {"--step-us", "0", "--probe-us", "0"});
  pool_->Send(1, LoadMessage(1), {});
  pool_->Send(1, OpenMessage(0, 1, ""), {});
  pool_->Send(1, PlanMessage(1, v1::STAGE_ENCODE, 0, 1, 0), {});
  ASSERT_EQ(sink_.Next(1, v1::FromWorker::kPlanDone).message.plan_done().jobs_size(), 1);
  std::vector<int64_t> took_ns;
  for (int step = 0; step < 1000; ++step) {
    const int64_t begin_ns = Clock::Real().MonotonicNanos();
    ASSERT_TRUE(pool_->Send(1, PlanMessage(2 + step, v1::STAGE_DENOISE, 0, 1, step), {}));
    const auto said = sink_.Next(1, v1::FromWorker::kPlanDone);
    took_ns.push_back(Clock::Real().MonotonicNanos() - begin_ns);
    ASSERT_EQ(said.message.plan_done().jobs(0).status().code(), 0);
  }
  std::sort(took_ns.begin(), took_ns.end());
  std::printf("plan round trip: p50 %.0f us, p99 %.0f us\n",
              static_cast<double>(took_ns[500]) / 1e3, static_cast<double>(took_ns[990]) / 1e3);
  EXPECT_LT(took_ns[500], 5 * kMs);
}

}  // namespace
}  // namespace darkroom
