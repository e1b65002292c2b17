// Every kernel's cases in the emulator, with the threads taking turns in three orders.
#include <exception>
#include <string>

#include "gtest/gtest.h"
#include "kernels/cases/support.h"
#include "kernels/emulator/simt.h"

namespace darkroom::kernels {
namespace {

class EmulatedKernelsTest : public ::testing::TestWithParam<emulator::Order> {};

TEST_P(EmulatedKernelsTest, MatchTheFloat64References) {
  emulator::SetOrder(GetParam());
  for (const cases::Case& one : cases::AllCases(cases::Extent::kSmall)) {
    SCOPED_TRACE(one.name);
    cases::Check check;
    try {
      one.run(check);
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    for (const std::string& fault : check.faults()) ADD_FAILURE() << fault;
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, EmulatedKernelsTest,
                         ::testing::Values(emulator::Order::kForward, emulator::Order::kBackward,
                                           emulator::Order::kShuffled));

}  // namespace
}  // namespace darkroom::kernels
