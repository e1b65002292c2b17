#include "device/cpu/kernel_table.h"
#include "device/cpu/simd_avx512.h"

namespace darkroom::cpu {

const Kernels& Avx512Kernels() {
  static constexpr Kernels kTable = MakeKernels<Avx512>();
  return kTable;
}

}  // namespace darkroom::cpu
