#pragma once

#include <cuda_runtime_api.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/emulator/simt.h"

// kernels/ptx/thread.h for the emulator.

namespace darkroom::kernels::ptx {

inline constexpr int kWarpThreads = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

inline int Lane() { return static_cast<int>(threadIdx.x) % kWarpThreads; }
inline int Warp() { return static_cast<int>(threadIdx.x) / kWarpThreads; }

inline uint8_t* SharedMemory() { return emulator::SharedMemory(); }

inline void SyncNamed(int id, int threads) {
  emulator::Meet({emulator::kBarrierGroup + id, threads, "barrier"}, nullptr, [](void**, int) {});
}
inline void SyncBlock() { SyncNamed(0, static_cast<int>(blockDim.x)); }
inline void SyncWarp() {
  emulator::MeetWarp("syncwarp", nullptr, [](void**, int) {});
}

// What a lane brings to an exchange and takes home.
template <typename T>
struct Exchange {
  T value;
  int lane;
  T result;
};
template <typename T>
T Shuffle(const char* name, T value, int from) {
  Exchange<T> mine{value, from, value};
  emulator::MeetWarp(name, &mine, [](void** brought, int count) {
    for (int i = 0; i < count; ++i) {
      auto* lane = static_cast<Exchange<T>*>(brought[i]);
      lane->result = static_cast<Exchange<T>*>(brought[lane->lane])->value;
    }
  });
  return mine.result;
}

inline float ShuffleXor(float value, int lanes) {
  return Shuffle("shuffle xor", value, Lane() ^ lanes);
}
inline int32_t ShuffleUp(int32_t value, int by) {
  return Shuffle("shuffle up", value, Lane() < by ? Lane() : Lane() - by);
}
inline int32_t ShuffleFrom(int32_t value, int lane) {
  return Shuffle("shuffle", value, lane % kWarpThreads);
}
inline uint32_t Ballot(bool vote) {
  Exchange<uint32_t> mine{vote ? 1u : 0u, 0, 0};
  emulator::MeetWarp("ballot", &mine, [](void** brought, int count) {
    uint32_t votes = 0;
    for (int i = 0; i < count; ++i) {
      votes |= static_cast<Exchange<uint32_t>*>(brought[i])->value << i;
    }
    for (int i = 0; i < count; ++i) static_cast<Exchange<uint32_t>*>(brought[i])->result = votes;
  });
  return mine.result;
}

inline int LowestBit(uint32_t bits) { return std::countr_zero(bits); }

inline float Exp2(float x) { return std::exp2(x); }

}  // namespace darkroom::kernels::ptx
