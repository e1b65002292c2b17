#pragma once

#include "device/cpu/attention_kernel.h"
#include "device/cpu/gemm_kernel.h"
#include "device/cpu/kernels.h"
#include "device/cpu/row_kernels.h"

namespace darkroom::cpu {

// Everything here is a template over the vector type, so that no two files compiled for different
// instruction sets ever define the same symbol: the linker would keep either one.
template <class V>
constexpr Kernels MakeKernels() {
  return Kernels{
      .panel_width = 2 * V::kWidth,
      .gemm_tile = GemmTile<V, float>,
      .gemm_tile_bf16 = GemmTile<V, uint16_t>,
      .epilogue = Epilogue<V, NoActivation>,
      .epilogue_gelu_tanh = Epilogue<V, GeluTanhActivation>,
      .epilogue_gelu = Epilogue<V, GeluActivation>,
      .epilogue_silu = Epilogue<V, SiluActivation>,
      .epilogue_quick_gelu = Epilogue<V, QuickGeluActivation>,
      .epilogue_relu = Epilogue<V, ReluActivation>,
      .convert_row = ConvertRow<V>,
      .silu_row = SiluRow<V>,
      .layer_norm_row = LayerNormRow<V>,
      .affine_norm_row = AffineNorm<V>,
      .norm_rope_heads = NormRopeHeads<V>,
      .add_row = AddRow<V>,
      .affine_row = AffineRow<V>,
      .channel_stats = ChannelStats<V>,
      .pack_keys = PackKeys<V>,
      .attention_block = AttentionBlock<V>,
      .pack_keys_bf16 = nullptr,
      .attention_block_bf16 = nullptr,
  };
}

}  // namespace darkroom::cpu
