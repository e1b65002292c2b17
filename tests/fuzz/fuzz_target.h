#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

// What a fuzz target is: one file <name>_fuzz.cc with these two functions. Built by clang in the
// preset `fuzz` it is a libFuzzer program; in every other build `standalone.cc` runs the seeds and
// changed copies of them, always the same ones, as a test.
namespace darkroom::fuzz {

// Whatever `bytes` are: they may be refused, never crash, hang or take memory without bound.
void Run(std::string_view bytes);

// Good inputs, from which others are made.
std::vector<std::string> Seeds();

// For what must hold whatever the input was.
inline void Require(bool holds, std::string_view what) {
  if (holds) return;
  std::cerr << "broken: " << what << "\n";
  std::abort();
}

}  // namespace darkroom::fuzz
