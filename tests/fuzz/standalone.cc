// A fuzz target without libFuzzer: runs every seed, then as many changed copies of them as asked
// for, always the same ones; or the files that are named, to look at what was found.
//
//   x_fuzz [COUNT]      default 500
//   x_fuzz FILE...
#include <charconv>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_target.h"

namespace darkroom::fuzz {
namespace {

// The same numbers everywhere, which std::uniform_int_distribution does not promise.
class Random {
 public:
  size_t Below(size_t bound) { return bound == 0 ? 0 : engine_() % bound; }

 private:
  std::mt19937_64 engine_{1};
};

// Numbers at which arithmetic goes wrong.
constexpr uint64_t kEdges[] = {0,      1,          0x7f,       0x80,       0xff,       0x7fff,
                               0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1ULL << 63, ~0ULL};

void Change(std::string& bytes, const std::vector<std::string>& seeds, Random& random) {
  const size_t at = random.Below(bytes.size() + 1);
  switch (random.Below(7)) {
    case 0:
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ 1 << random.Below(8));
      return;
    case 1:
      if (at < bytes.size()) bytes[at] = static_cast<char>(random.Below(256));
      return;
    case 2:
      bytes.resize(at);
      return;
    case 3:
      bytes.erase(at, random.Below(16));
      return;
    case 4: {
      const size_t from = random.Below(bytes.size());
      bytes.insert(at, bytes.substr(from, random.Below(64)));
      return;
    }
    case 5: {
      const uint64_t edge = kEdges[random.Below(std::size(kEdges))];
      for (size_t i = 0; i < (size_t{1} << random.Below(4)) && at + i < bytes.size(); ++i) {
        bytes[at + i] = static_cast<char>(edge >> (8 * i));
      }
      return;
    }
    default: {
      const std::string& other = seeds[random.Below(seeds.size())];
      bytes.replace(at, std::string::npos, other.substr(random.Below(other.size() + 1)));
    }
  }
}

int Main(const std::vector<std::string_view>& arguments) {
  int64_t count = 500;
  if (!arguments.empty()) {
    const std::string_view text = arguments[0];
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
    if (parsed.ec != std::errc()) {
      for (const std::string_view path : arguments) {
        std::ifstream file(std::string(path), std::ios::binary);
        Run(std::string(std::istreambuf_iterator<char>(file), {}));
        std::cout << path << ": no finding\n";
      }
      return 0;
    }
  }
  const std::vector<std::string> seeds = Seeds();
  Require(!seeds.empty(), "a target has seeds");
  for (const std::string& seed : seeds) Run(seed);
  Run("");
  Random random;
  for (int64_t i = 0; i < count; ++i) {
    std::string bytes = seeds[random.Below(seeds.size())];
    for (size_t changes = 1 + random.Below(4); changes > 0; --changes) {
      Change(bytes, seeds, random);
    }
    Run(bytes);
  }
  std::cout << seeds.size() << " seeds and " << count << " changed ones: no finding\n";
  return 0;
}

}  // namespace
}  // namespace darkroom::fuzz

int main(int argc, char** argv) {
  return darkroom::fuzz::Main(std::vector<std::string_view>(argv + 1, argv + argc));
}
