#pragma once

#include <immintrin.h>

#include <cstdint>

namespace darkroom::cpu {

// The vector type that the kernel templates are written against; see simd_generic.h for the
// contract. Included only by the file compiled for this instruction set.
struct Avx512 {
  using Reg = __m512;
  static constexpr int kWidth = 16;
  // A 12 x 32 register tile: 24 accumulators, two vectors of B and one broadcast in 32 registers.
  static constexpr int kTileRows = 12;

  static __mmask16 First(int64_t n) {
    return static_cast<__mmask16>(n >= kWidth ? 0xffff : (1u << n) - 1);
  }
  static Reg Load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg LoadPartial(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(First(n), p); }
  static void Store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
  static void StorePartial(float* p, Reg a, int64_t n) { _mm512_mask_storeu_ps(p, First(n), a); }
  static Reg LoadBf16(const uint16_t* p) {
    return Widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Reg LoadBf16Partial(const uint16_t* p, int64_t n) {
    return Widen(_mm256_maskz_loadu_epi16(First(n), p));
  }
  static void StoreBf16(uint16_t* p, Reg a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Narrow(a));
  }
  static void StoreBf16Partial(uint16_t* p, Reg a, int64_t n) {
    _mm256_mask_storeu_epi16(p, First(n), Narrow(a));
  }
  static Reg Zero() { return _mm512_setzero_ps(); }
  static Reg Broadcast(float a) { return _mm512_set1_ps(a); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg Sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg Div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg Max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg Min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg Round(Reg a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Reg ScaleByPowerOf2(Reg a, Reg n) { return _mm512_scalef_ps(a, n); }
  static Reg SelectLess(Reg a, Reg b, Reg yes, Reg no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
  }
  static float SumLanes(Reg a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static float MaxLanes(Reg a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static Reg SwapPairs(Reg a) { return _mm512_permute_ps(a, 0xb1); }
  static void Transpose(Reg* a) {
    // Pairs of rows, pairs of pairs within 128-bit lanes, then the lanes themselves.
    Reg b[kWidth];
    for (int i = 0; i < kWidth; i += 2) {
      b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < kWidth; i += 4) {
      a[i] = _mm512_shuffle_ps(b[i], b[i + 2], 0x44);
      a[i + 1] = _mm512_shuffle_ps(b[i], b[i + 2], 0xee);
      a[i + 2] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0x44);
      a[i + 3] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      const Reg low02 = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
      const Reg low13 = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd);
      const Reg high02 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
      const Reg high13 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xdd);
      b[i] = _mm512_shuffle_f32x4(low02, high02, 0x88);
      b[i + 8] = _mm512_shuffle_f32x4(low02, high02, 0xdd);
      b[i + 4] = _mm512_shuffle_f32x4(low13, high13, 0x88);
      b[i + 12] = _mm512_shuffle_f32x4(low13, high13, 0xdd);
    }
    for (int i = 0; i < kWidth; ++i) a[i] = b[i];
  }

 private:
  static Reg Widen(__m256i a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16));
  }
  // Round to nearest even; a NaN keeps its top bits and stays a NaN.
  static __m256i Narrow(Reg a) {
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(nan, rounded, quiet));
  }
};

}  // namespace darkroom::cpu
