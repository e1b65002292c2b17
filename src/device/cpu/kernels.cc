#include "device/cpu/kernels.h"

namespace darkroom::cpu {

const Kernels& KernelsFor(SimdLevel level) {
  static const Kernels kAmxKernels = AmxKernels();
  switch (level) {
    case SimdLevel::kAmx:
      return kAmxKernels;
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
