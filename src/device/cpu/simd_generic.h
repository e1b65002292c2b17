#pragma once

#include <emmintrin.h>

#include <cstdint>
#include <cstring>

namespace darkroom::cpu {

// The contract of a vector type for the kernel templates: `kWidth` floats in a Reg, unaligned loads
// and stores, partial ones that touch only the first `n` elements (the rest read as zero), and
// elementwise arithmetic. Max and Min give the second operand where one is NaN. ScaleByPowerOf2
// gives a * 2^n for integral n where the result is a normal number. SumLanes
// adds halves until one is left, a fixed order. SwapPairs exchanges elements 2i and 2i + 1.
// Transpose turns a square of kWidth registers. `kTileRows` is the height of the matrix kernel's
// register tile, which is two vectors wide.
//
// This one is for any x86-64 machine (SSE2): it has no fused multiply-add, so a product is rounded
// before it is added.
struct Generic {
  using Reg = __m128;
  static constexpr int kWidth = 4;
  static constexpr int kTileRows = 4;

  static Reg Load(const float* p) { return _mm_loadu_ps(p); }
  static Reg LoadPartial(const float* p, int64_t n) {
    float full[kWidth] = {};
    for (int64_t i = 0; i < n && i < kWidth; ++i) full[i] = p[i];
    return Load(full);
  }
  static void Store(float* p, Reg a) { _mm_storeu_ps(p, a); }
  static void StorePartial(float* p, Reg a, int64_t n) {
    float full[kWidth];
    Store(full, a);
    for (int64_t i = 0; i < n && i < kWidth; ++i) p[i] = full[i];
  }
  static Reg LoadBf16(const uint16_t* p) {
    const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), half));
  }
  static Reg LoadBf16Partial(const uint16_t* p, int64_t n) {
    uint16_t full[kWidth] = {};
    for (int64_t i = 0; i < n && i < kWidth; ++i) full[i] = p[i];
    return LoadBf16(full);
  }
  static void StoreBf16(uint16_t* p, Reg a) { StoreBf16Partial(p, a, kWidth); }
  static void StoreBf16Partial(uint16_t* p, Reg a, int64_t n) {
    float full[kWidth];
    Store(full, a);
    for (int64_t i = 0; i < n && i < kWidth; ++i) p[i] = NarrowOne(full[i]);
  }
  static Reg Zero() { return _mm_setzero_ps(); }
  static Reg Broadcast(float a) { return _mm_set1_ps(a); }
  static Reg Add(Reg a, Reg b) { return _mm_add_ps(a, b); }
  static Reg Sub(Reg a, Reg b) { return _mm_sub_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm_mul_ps(a, b); }
  static Reg Div(Reg a, Reg b) { return _mm_div_ps(a, b); }
  static Reg Max(Reg a, Reg b) { return _mm_max_ps(a, b); }
  static Reg Min(Reg a, Reg b) { return _mm_min_ps(a, b); }
  static Reg Fma(Reg a, Reg b, Reg c) { return Add(Mul(a, b), c); }
  // For magnitudes below 2^31, which is all that the kernels need.
  static Reg Round(Reg a) { return _mm_cvtepi32_ps(_mm_cvtps_epi32(a)); }
  static Reg ScaleByPowerOf2(Reg a, Reg n) {
    const __m128i exponent = _mm_slli_epi32(_mm_cvtps_epi32(n), 23);
    return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), exponent));
  }
  static Reg SelectLess(Reg a, Reg b, Reg yes, Reg no) {
    const Reg mask = _mm_cmplt_ps(a, b);
    return _mm_or_ps(_mm_and_ps(mask, yes), _mm_andnot_ps(mask, no));
  }
  static float SumLanes(Reg a) {
    const Reg pairs = Add(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
  }
  static float MaxLanes(Reg a) {
    const Reg pairs = Max(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
  }
  static Reg SwapPairs(Reg a) { return _mm_shuffle_ps(a, a, 0xb1); }
  static void Transpose(Reg* a) { _MM_TRANSPOSE4_PS(a[0], a[1], a[2], a[3]); }

 private:
  static uint16_t NarrowOne(float a) {
    uint32_t bits;
    std::memcpy(&bits, &a, sizeof(bits));
    if (a != a) return static_cast<uint16_t>((bits >> 16) | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
};

}  // namespace darkroom::cpu
