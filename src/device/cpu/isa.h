#pragma once

#include <string>

namespace darkroom::cpu {

// Which of our own kernels run. Each level has its own vector width, hence its own order of
// summation, hence its own bits.
enum class SimdLevel { kGeneric, kAvx2, kAvx512, kAmx };

struct CpuIsa {
  SimdLevel simd = SimdLevel::kGeneric;
  // Whether matrices of bf16 are multiplied by instructions made for it.
  bool bf16 = false;
  // oneDNN's name of the instruction set, "avx512_core_bf16": what decides bits.
  std::string name;
};

// What this machine has, capped by DNNL_MAX_CPU_ISA: oneDNN and our kernels always agree, so that a
// capped machine is a faithful stand-in for a lesser one.
CpuIsa DetectIsa();

}  // namespace darkroom::cpu
