#include "device/cpu/kernels.h"

namespace darkroom::cpu {

const Kernels& KernelsFor(SimdLevel level) {
  switch (level) {
    case SimdLevel::kAmx: {
      // Made only here: even copying a table is compiled to instructions that lesser machines lack.
      static const Kernels kAmxKernels = AmxKernels();
      return kAmxKernels;
    }
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
