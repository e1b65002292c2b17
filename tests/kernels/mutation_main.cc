// Runs the kernels' small cases whose names begin with the argument, threads taking turns in three
// orders, until one fails: exit status 0 when none does, 1 otherwise. mutations_test.py links it
// with a kernel that was broken on purpose.
#include <cstdio>
#include <exception>
#include <string>

#include "kernels/cases/support.h"
#include "kernels/emulator/simt.h"

namespace {

using namespace darkroom;  // NOLINT(google-build-using-namespace)

std::string FirstFault(const kernels::cases::Case& one) {
  kernels::cases::Check check;
  try {
    one.run(check);
  } catch (const std::exception& error) {
    return error.what();
  }
  return check.ok() ? "" : check.faults().front();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string prefix = argc > 1 ? argv[1] : "";
  int cases = 0;
  for (const auto order :
       {emulator::Order::kForward, emulator::Order::kBackward, emulator::Order::kShuffled}) {
    emulator::SetOrder(order);
    for (const auto& one : kernels::cases::AllCases(kernels::cases::Extent::kSmall)) {
      if (one.name.rfind(prefix, 0) != 0) continue;
      ++cases;
      const std::string fault = FirstFault(one);
      if (fault.empty()) continue;
      std::printf("%s: %s\n", one.name.c_str(), fault.c_str());
      return 1;
    }
  }
  std::printf("%d cases passed\n", cases);
  return cases > 0 ? 0 : 2;
}
