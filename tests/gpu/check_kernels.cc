// The kernels' cases on a GPU, one per process, so that an error that breaks the CUDA context hides
// no other case.
//
//   check_kernels list          names, one a line
//   check_kernels run NAME      one case: a line of JSON, whatever came of it
//   check_kernels small         all cases of the emulator's size in one process, for sanitizers
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "kernels/cases/support.h"

namespace {

using darkroom::kernels::cases::AllCases;
using darkroom::kernels::cases::Case;
using darkroom::kernels::cases::Check;
using darkroom::kernels::cases::Extent;

// Faults hold names and numbers; what JSON would trip over becomes a blank.
std::string Plain(std::string text) {
  for (char& c : text) {
    if (c == '"' || c == '\\' || c < ' ') c = ' ';
  }
  return text;
}

bool Run(const Case& one) {
  Check check;
  try {
    one.run(check);
  } catch (const std::exception& error) {
    check.That(false, error.what());
  }
  const std::string fault = check.ok() ? "" : Plain(check.faults().front());
  std::printf(
      "{\"case\": \"%s\", \"passed\": %s, \"error\": %.3g, \"bound\": %.3g, \"digest\": "
      "\"%016llx\", \"faults\": %zu, \"first\": \"%s\"}\n",
      one.name.c_str(), check.ok() ? "true" : "false", check.error(), check.bound(),
      static_cast<unsigned long long>(check.digest()), check.faults().size(), fault.c_str());
  return check.ok();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "list") {
    for (const Case& one : AllCases(Extent::kFull)) std::printf("%s\n", one.name.c_str());
    return 0;
  }
  if (command == "small") {
    bool passed = true;
    for (const Case& one : AllCases(Extent::kSmall)) passed = Run(one) && passed;
    return passed ? 0 : 1;
  }
  if (command == "run" && argc == 3) {
    for (const Case& one : AllCases(Extent::kFull)) {
      if (one.name != argv[2]) continue;
      Run(one);
      return 0;
    }
    std::fprintf(stderr, "no such case: %s\n", argv[2]);
    return 2;
  }
  std::fprintf(stderr, "usage: check_kernels list | run NAME | small\n");
  return 2;
}
