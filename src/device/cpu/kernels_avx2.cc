#include "device/cpu/kernel_table.h"
#include "device/cpu/simd_avx2.h"

namespace darkroom::cpu {

const Kernels& Avx2Kernels() {
  static constexpr Kernels kTable = MakeKernels<Avx2>();
  return kTable;
}

}  // namespace darkroom::cpu
