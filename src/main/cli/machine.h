#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace darkroom::cli {

// What was found out about one thing that Darkroom needs.
struct Finding {
  enum class Level { kOk, kWarning, kMissing };
  Level level = Level::kOk;
  std::string subject;  // "memory"
  std::string text;     // what was found
  std::string fix;      // how to mend it; empty when kOk
};

// This machine: processor, memory, disk for the store, accelerator, and the programs beside
// `program_folder`. Reads /proc and the file system only.
std::vector<Finding> InspectMachine(const std::string& program_folder);

// The vector instruction sets among `flags`, a line of /proc/cpuinfo, that the CPU backend has code
// for; widest last.
std::vector<std::string> VectorInstructionSets(const std::string& flags);

}  // namespace darkroom::cli
