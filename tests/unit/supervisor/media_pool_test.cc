#include "supervisor/media_pool.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "testing/pictures.h"

namespace darkroom {
namespace {

using testing::MakeJpeg;
using testing::MakePng;

MediaPool::Options Real() {
  MediaPool::Options options;
  options.decoder.program = std::string(DARKROOM_BIN_DIR) + "/darkroom-media";
  return options;
}

// A shell script in the decoder's place.
MediaPool::Options Script(const std::string& body) {
  const std::string path = ::testing::TempDir() + "/decoder-" +
                           ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  MediaPool::Options options;
  options.decoder.program = path;
  options.processes = 1;
  return options;
}

absl::StatusOr<Picture> Decode(MediaPool& pool, const std::string& bytes,
                               PictureUse use = PictureUse::kImage) {
  std::promise<absl::StatusOr<Picture>> promise;
  auto future = promise.get_future();
  pool.Decode(Payload::Copy(bytes), use,
              [&](absl::StatusOr<Picture> picture) { promise.set_value(std::move(picture)); });
  return future.get();
}

// Processes that this test's process has started and that are called darkroom-media.
std::vector<pid_t> Decoders() {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream stat(entry.path() / "stat");
    pid_t pid = 0;
    pid_t parent = 0;
    std::string program;
    char state = 0;
    if (stat >> pid >> program >> state >> parent && parent == ::getpid() &&
        program == "(darkroom-media)") {
      found.push_back(pid);
    }
  }
  return found;
}

TEST(MediaPoolTest, DecodesInProcessesOfItsOwn) {
  MediaPool pool(Real());
  const auto picture = Decode(pool, MakePng({64, 48}));
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_EQ(picture->width, 64);
  EXPECT_EQ(picture->height, 48);
  EXPECT_EQ(picture->media_type, "image/png");
  ASSERT_EQ(picture->pixels.size(), size_t{64} * 48 * 3);
  EXPECT_EQ(static_cast<unsigned char>(picture->pixels.bytes()[3]), 21);
  const auto large = Decode(pool, MakePng({300, 200}));
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_GE(large->pixels.fd(), 0) << "what is large comes back as shared memory";
  EXPECT_FALSE(Decoders().empty());
  EXPECT_TRUE(Decode(pool, MakePng({64, 48}), PictureUse::kCheck)->pixels.empty());
  EXPECT_EQ(Decode(pool, MakePng({64, 48}), PictureUse::kMaskWhite)->pixels.size(),
            size_t{64} * 48);
}

TEST(MediaPoolTest, ErrorsOfPicturesAreTheirOwn) {
  MediaPool pool(Real());
  EXPECT_EQ(ErrorReason(Decode(pool, "").status()), "PICTURE_EMPTY");
  EXPECT_EQ(ErrorReason(Decode(pool, "nonsense").status()), "PICTURE_FORMAT_UNKNOWN");
  EXPECT_EQ(ErrorReason(Decode(pool, MakePng({}).substr(0, 40)).status()), "PICTURE_BROKEN");
  EXPECT_EQ(ErrorReason(Decode(pool, MakePng({}), PictureUse::kMaskTransparent).status()),
            "MASK_WITHOUT_ALPHA");
  EXPECT_LE(pool.started(), 2) << "a broken picture is no reason for a new process";
}

TEST(MediaPoolTest, AKilledDecoderCostsNothingButItsPicture) {
  MediaPool pool(Real());
  ASSERT_TRUE(Decode(pool, MakePng({})).ok());
  for (const pid_t pid : Decoders()) ASSERT_EQ(::kill(pid, SIGKILL), 0);
  // The picture that comes while its decoder dies is lost, at most one for each process.
  int lost = 0;
  for (int i = 0; i < 20; ++i) lost += Decode(pool, MakeJpeg(16, 16)).ok() ? 0 : 1;
  EXPECT_LE(lost, 2);
}

TEST(MediaPoolTest, ADecoderThatDiedIdleCostsNothing) {
  MediaPool::Options options = Real();
  options.processes = 1;
  MediaPool pool(options);
  for (int round = 1; round <= 5; ++round) {
    ASSERT_TRUE(Decode(pool, MakePng({})).ok());
    EXPECT_EQ(pool.started(), round);
    for (const pid_t pid : Decoders()) {
      ASSERT_EQ(::kill(pid, SIGKILL), 0);
      // Its end is there to be seen once it is a zombie.
      siginfo_t ended{};
      ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT), 0);
    }
  }
}

TEST(MediaPoolTest, TheDecoderIsConfined) {
  MediaPool pool(Real());
  ASSERT_TRUE(Decode(pool, MakePng({})).ok());
  const std::vector<pid_t> pids = Decoders();
  ASSERT_FALSE(pids.empty());
  const std::string folder = "/proc/" + std::to_string(pids[0]);
  std::set<std::string> descriptors;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/fd")) {
    descriptors.insert(entry.path().filename());
  }
  EXPECT_EQ(descriptors, (std::set<std::string>{"0", "1", "2", "3"}));
  std::ifstream status(folder + "/status");
  bool no_new_privileges = false;
  for (std::string line; std::getline(status, line);) {
    no_new_privileges = no_new_privileges || line == "NoNewPrivs:\t1";
  }
  EXPECT_TRUE(no_new_privileges);
}

TEST(MediaPoolTest, ACrashIsTheRequestsErrorAndTheNextGetsANewProcess) {
  MediaPool pool(Script("exit 7"));
  for (int i = 1; i <= 3; ++i) {
    const auto picture = Decode(pool, MakePng({}));
    EXPECT_EQ(ErrorReason(picture.status()), "PICTURE_REJECTED");
    EXPECT_TRUE(absl::IsInvalidArgument(picture.status()));
    EXPECT_EQ(pool.started(), i);
  }
}

TEST(MediaPoolTest, NonsenseFromADecoderIsNotBelieved) {
  MediaPool pool(Script("echo AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA >&3; exec sleep 60"));
  EXPECT_EQ(ErrorReason(Decode(pool, MakePng({})).status()), "PICTURE_REJECTED");
}

TEST(MediaPoolTest, AHangIsCutOff) {
  MediaPool::Options options = Script("exec sleep 60");
  options.timeout_ns = 300'000'000;
  MediaPool pool(options);
  const int64_t start_ns = Clock::Real().MonotonicNanos();
  EXPECT_EQ(ErrorReason(Decode(pool, MakePng({})).status()), "PICTURE_REJECTED");
  EXPECT_LT(Clock::Real().MonotonicNanos() - start_ns, 10'000'000'000);
}

TEST(MediaPoolTest, WithoutItsProgramItSaysSo) {
  MediaPool::Options options;
  options.decoder.program = "/nonexistent/darkroom-media";
  MediaPool pool(options);
  const auto picture = Decode(pool, MakePng({}));
  EXPECT_EQ(ErrorReason(picture.status()), "DECODER_UNAVAILABLE");
  EXPECT_TRUE(absl::IsUnavailable(picture.status()));
}

TEST(MediaPoolTest, ClosingAnswersEveryone) {
  std::vector<std::future<absl::StatusOr<Picture>>> answers;
  {
    MediaPool::Options options = Script("exec sleep 60");
    MediaPool pool(options);
    for (int i = 0; i < 5; ++i) {
      auto promise = std::make_shared<std::promise<absl::StatusOr<Picture>>>();
      answers.push_back(promise->get_future());
      pool.Decode(
          Payload::Copy(MakePng({})), PictureUse::kCheck,
          [promise](absl::StatusOr<Picture> picture) { promise->set_value(std::move(picture)); });
    }
  }
  for (auto& answer : answers) EXPECT_FALSE(answer.get().ok());
}

}  // namespace
}  // namespace darkroom
