#include "device/cpu/isa.h"

#include "oneapi/dnnl/dnnl.hpp"

namespace darkroom::cpu {

CpuIsa DetectIsa() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx512_core_amx:
      return {SimdLevel::kAmx, true, "avx512_core_amx"};
    case dnnl::cpu_isa::avx512_core_bf16:
      return {SimdLevel::kAvx512, true, "avx512_core_bf16"};
    case dnnl::cpu_isa::avx512_core_vnni:
      return {SimdLevel::kAvx512, false, "avx512_core_vnni"};
    case dnnl::cpu_isa::avx512_core:
      return {SimdLevel::kAvx512, false, "avx512_core"};
    case dnnl::cpu_isa::avx2_vnni:
      return {SimdLevel::kAvx2, false, "avx2_vnni"};
    case dnnl::cpu_isa::avx2:
    case dnnl::cpu_isa::avx512_mic:
    case dnnl::cpu_isa::avx512_mic_4ops:
      return {SimdLevel::kAvx2, false, "avx2"};
    case dnnl::cpu_isa::avx:
      return {SimdLevel::kGeneric, false, "avx"};
    default:
      return {SimdLevel::kGeneric, false, "sse41"};
  }
}

}  // namespace darkroom::cpu
