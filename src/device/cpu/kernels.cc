#include "device/cpu/kernels.h"

namespace darkroom::cpu {

const Kernels& KernelsFor(SimdLevel level) {
  switch (level) {
    case SimdLevel::kAvx512:
      return Avx512Kernels();
    case SimdLevel::kAvx2:
      return Avx2Kernels();
    case SimdLevel::kGeneric:
      break;
  }
  return GenericKernels();
}

}  // namespace darkroom::cpu
