// A daemon that serves for weeks must not grow: memory after many generations is what it was after
// few. DARKROOM_GENERATIONS sets how many (1000 is the documented run).

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/process_memory.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

int Generations() {
  const char* value = std::getenv("DARKROOM_GENERATIONS");
  return value == nullptr ? 150 : std::max(30, std::atoi(value));
}

int64_t TotalPss(DaemonProcess& daemon) {
  int64_t bytes = PssBytes(daemon.pid());
  const auto info = daemon.client().GetServerInfo();
  EXPECT_TRUE(info.ok()) << info.status();
  for (const auto& worker : info->workers()) bytes += PssBytes(worker.pid());
  return bytes;
}

TEST(MemoryTest, IsFlatOverManyGenerations) {
  TempFolder folder;
  DaemonProcess daemon({DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_dev/model",
                        folder.Path("state"),
                        false,
                        {},
                        {}});
  ASSERT_NO_FATAL_FAILURE(daemon.Start());
  const int generations = Generations();
  // Whatever is allocated once (arenas of every size, caches up to their bounds) is there by then.
  const int warm = generations / 3;
  int64_t after_warm = 0;
  for (int i = 0; i < generations; ++i) {
    // Prompts never seen before, several sizes, both branches: nothing may be kept for good.
    v1::GenerateRequest request =
        PictureRequest(absl::StrCat("a red apple ", i), 16 + 16 * (i % 3), 2, i, 3.5);
    if (i % 2 == 1) {
      request.set_negative_prompt(absl::StrCat("blurry ", i));
      request.mutable_sampling()->set_true_cfg_scale(2.0);
    }
    const auto made = GenerateAndWait(daemon.client(), request);
    ASSERT_TRUE(made.ok()) << made.status();
    ASSERT_EQ(made->state(), v1::Generation::STATE_SUCCEEDED) << made->ShortDebugString();
    if (i + 1 == warm) after_warm = TotalPss(daemon);
  }
  const int64_t at_end = TotalPss(daemon);
  ASSERT_GT(after_warm, 0);
  std::printf("MiB of daemon and worker after %d generations: %.1f, after %d: %.1f\n", warm,
              static_cast<double>(after_warm) / 1048576, generations,
              static_cast<double>(at_end) / 1048576);
  // A leak of 4 KiB a generation would be seen in the documented run. SQLite's page cache and the
  // allocator's fragments are the slack.
  EXPECT_LT(at_end - after_warm, after_warm / 50 + (2 << 20));
}

}  // namespace
}  // namespace darkroom::testing
