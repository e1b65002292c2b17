#include "main/cli/machine.h"

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace darkroom::cli {
namespace {

using Level = Finding::Level;

constexpr double kGib = 1 << 30;
// A small model with its activations, and room for the store (see StoreConfig.free_bytes_min).
constexpr int64_t kMemoryWanted = int64_t{2} << 30;
constexpr int64_t kDiskNeeded = int64_t{256} << 20;
constexpr int64_t kDiskWanted = int64_t{2} << 30;

// The value after "key" and a colon in a file of such lines; empty when there is none.
std::string ValueIn(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::StripAsciiWhitespace(pair.first) == key) {
      return std::string(absl::StripAsciiWhitespace(pair.second));
    }
  }
  return "";
}

int Cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return CPU_COUNT(&set);
}

Finding Processor() {
  const std::string model = ValueIn("/proc/cpuinfo", "model name");
  const auto sets = VectorInstructionSets(ValueIn("/proc/cpuinfo", "flags"));
  Finding finding;
  finding.subject = "processor";
  finding.text = absl::StrCat(Cores(), " cores", model.empty() ? "" : ", ", model, ", ",
                              sets.empty() ? "no AVX2" : absl::StrJoin(sets, " "));
  if (sets.empty()) {
    finding.level = Level::kWarning;
    finding.fix = "generating will be slow; a processor with AVX2 or AVX-512 is much faster";
  }
  return finding;
}

// /proc/meminfo counts in "123 kB".
int64_t MemoryBytes(const std::string& key) {
  int64_t kibibytes = 0;
  const std::vector<std::string> words = absl::StrSplit(ValueIn("/proc/meminfo", key), ' ');
  if (!absl::SimpleAtoi(words.front(), &kibibytes)) return 0;
  return kibibytes * 1024;
}

Finding Memory() {
  const int64_t available = MemoryBytes("MemAvailable");
  Finding finding;
  finding.subject = "memory";
  finding.text = absl::StrFormat("%.1f GiB, %.1f GiB of it available",
                                 MemoryBytes("MemTotal") / kGib, available / kGib);
  if (available < kMemoryWanted) {
    finding.level = Level::kWarning;
    finding.fix = "models need their weights' size and as much again; end other programs";
  }
  return finding;
}

// Where the daemon keeps its store unless told otherwise.
std::filesystem::path StateFolder() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') {
    return std::filesystem::path(state) / "darkroom";
  }
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : "/") / ".local/state/darkroom";
}

Finding Disk() {
  const std::filesystem::path folder = StateFolder();
  std::filesystem::path existing = folder;
  std::error_code error;
  while (!std::filesystem::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const auto space = std::filesystem::space(existing, error);
  Finding finding;
  finding.subject = "disk";
  const int64_t free = error ? 0 : static_cast<int64_t>(space.available);
  finding.text = absl::StrFormat("%.1f GiB free for the store in %s", free / kGib, folder.string());
  if (access(existing.c_str(), W_OK | X_OK) != 0) {
    finding.level = Level::kMissing;
    finding.fix = "this user cannot write there; give darkroomd another folder for its store";
  } else if (free < kDiskNeeded) {
    finding.level = Level::kMissing;
    finding.fix = "darkroomd starts with 256 MiB free; make room or give its store another folder";
  } else if (free < kDiskWanted) {
    finding.level = Level::kWarning;
    finding.fix = "outputs are kept for a day; make room";
  }
  return finding;
}

Finding Accelerator() {
  const std::string version = ValueIn("/proc/driver/nvidia/version", "NVRM version");
  Finding finding;
  finding.subject = "accelerator";
  finding.text = version.empty() ? "no NVIDIA driver; the CPU backend is used"
                                 : absl::StrCat("NVIDIA driver ", version);
  return finding;
}

Finding Program(const std::string& folder, const std::string& name) {
  const std::string path = (std::filesystem::path(folder) / name).string();
  Finding finding;
  finding.subject = name;
  finding.text = path;
  if (access(path.c_str(), X_OK) != 0) {
    finding.level = Level::kMissing;
    finding.text = absl::StrCat("not at ", path);
    finding.fix = absl::StrCat("build or install ", name, " beside this program");
  }
  return finding;
}

}  // namespace

std::vector<std::string> VectorInstructionSets(const std::string& flags) {
  const std::vector<std::string> words = absl::StrSplit(flags, ' ', absl::SkipEmpty());
  std::vector<std::string> sets;
  for (const char* set :
       {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}) {
    for (const std::string& word : words) {
      if (word == set) sets.push_back(word);
    }
  }
  return sets;
}

std::vector<Finding> InspectMachine(const std::string& program_folder) {
  return {Processor(),
          Memory(),
          Disk(),
          Accelerator(),
          Program(program_folder, "darkroomd"),
          Program(program_folder, "darkroom-worker")};
}

}  // namespace darkroom::cli
