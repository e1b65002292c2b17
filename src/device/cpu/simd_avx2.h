#pragma once

#include <immintrin.h>

#include <cstdint>

namespace darkroom::cpu {

// The vector type that the kernel templates are written against; see simd_generic.h for the
// contract. Included only by the file compiled for this instruction set.
struct Avx2 {
  using Reg = __m256;
  static constexpr int kWidth = 8;
  // A 6 x 16 register tile: 12 accumulators, two vectors of B and one broadcast in 16 registers.
  static constexpr int kTileRows = 6;

  static Reg Load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg LoadPartial(const float* p, int64_t n) { return _mm256_maskload_ps(p, First(n)); }
  static void Store(float* p, Reg a) { _mm256_storeu_ps(p, a); }
  static void StorePartial(float* p, Reg a, int64_t n) { _mm256_maskstore_ps(p, First(n), a); }
  static Reg LoadBf16(const uint16_t* p) {
    return Widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Reg LoadBf16Partial(const uint16_t* p, int64_t n) {
    alignas(16) uint16_t full[kWidth] = {};
    for (int64_t i = 0; i < n && i < kWidth; ++i) full[i] = p[i];
    return LoadBf16(full);
  }
  static void StoreBf16(uint16_t* p, Reg a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), Narrow(a));
  }
  static void StoreBf16Partial(uint16_t* p, Reg a, int64_t n) {
    alignas(16) uint16_t full[kWidth];
    StoreBf16(full, a);
    for (int64_t i = 0; i < n && i < kWidth; ++i) p[i] = full[i];
  }
  static Reg Zero() { return _mm256_setzero_ps(); }
  static Reg Broadcast(float a) { return _mm256_set1_ps(a); }
  static Reg Add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg Sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg Div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg Max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg Min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg Round(Reg a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Reg ScaleByPowerOf2(Reg a, Reg n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
  }
  static Reg SelectLess(Reg a, Reg b, Reg yes, Reg no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static float SumLanes(Reg a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static float MaxLanes(Reg a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static Reg SwapPairs(Reg a) { return _mm256_permute_ps(a, 0xb1); }
  static void Transpose(Reg* a) {
    // Pairs of rows, pairs of pairs within 128-bit halves, then the halves themselves.
    Reg b[kWidth];
    for (int i = 0; i < kWidth; i += 2) {
      b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
      b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < kWidth; i += 4) {
      a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
      a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
      a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
      a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      b[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
      b[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
    for (int i = 0; i < kWidth; ++i) a[i] = b[i];
  }

 private:
  static __m256i First(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < kWidth ? n : kWidth)), lane);
  }
  static Reg Widen(__m128i a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(a), 16));
  }
  // Round to nearest even; a NaN keeps its top bits and stays a NaN.
  static __m128i Narrow(Reg a) {
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i chosen = _mm256_blendv_epi8(rounded, quiet, nan);
    // Pack the low halves of 8 lanes; packus works within 128-bit halves, so gather those after.
    const __m256i packed = _mm256_packus_epi32(chosen, chosen);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
  }
};

}  // namespace darkroom::cpu
