#include "device/cpu/kernel_table.h"
#include "device/cpu/simd_generic.h"

namespace darkroom::cpu {

const Kernels& GenericKernels() {
  static constexpr Kernels kTable = MakeKernels<Generic>();
  return kTable;
}

}  // namespace darkroom::cpu
