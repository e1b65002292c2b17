#include "main/sim_replay.h"

#include <cstdio>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "main/mapped_file.h"
#include "scheduler/decision_log.h"

namespace darkroom {
namespace {

constexpr std::string_view kFlag = "--replay";
constexpr int kExitDiffers = 1;
constexpr int kExitUnreadable = 2;
constexpr int kExitUsage = 64;

int Tell(const absl::Status& status) {
  std::fprintf(stderr, "darkroom-sim: %s [%s]\n", std::string(status.message()).c_str(),
               ErrorReason(status).c_str());
  return kExitDiffers;
}

}  // namespace

bool IsReplay(int argc, char** argv) { return argc > 1 && argv[1] == kFlag; }

int ReplayMain(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: darkroom-sim --replay FILE\n");
    return kExitUsage;
  }
  const MappedFile file(argv[2]);
  if (!file.ok()) {
    std::fprintf(stderr, "darkroom-sim: cannot read the decision log\n");
    return kExitUnreadable;
  }
  auto replay = scheduler::DecisionReplay::Open(file.bytes());
  if (!replay.ok()) return Tell(replay.status());
  while (true) {
    const auto more = replay->Next();
    if (!more.ok()) return Tell(more.status());
    if (!*more) break;
  }
  if (replay->torn_bytes() > 0) {
    std::fprintf(stderr, "darkroom-sim: the last %lld bytes were never completely written\n",
                 static_cast<long long>(replay->torn_bytes()));
  }
  std::printf("%lld decisions, %lld commands, every one the same\n",
              static_cast<long long>(replay->decisions()),
              static_cast<long long>(replay->commands()));
  return 0;
}

}  // namespace darkroom
