// A fuzz target as libFuzzer calls it. With DARKROOM_FUZZ_SEEDS=FOLDER in the environment the seeds
// are written there first, for a corpus to begin with.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  const char* folder = std::getenv("DARKROOM_FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  int number = 0;
  for (const std::string& seed : darkroom::fuzz::Seeds()) {
    std::ofstream(std::string(folder) + "/seed" + std::to_string(number++), std::ios::binary)
        << seed;
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  darkroom::fuzz::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
