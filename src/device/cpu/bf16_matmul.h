#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace darkroom::cpu {

// Makes oneDNN's OpenMP run in the calling thread alone while it lives: our pool owns the threads,
// and a primitive that split its own work would choose a split by thread count.
class SequentialOpenMp {
 public:
  SequentialOpenMp();
  ~SequentialOpenMp();
  SequentialOpenMp(const SequentialOpenMp&) = delete;
  SequentialOpenMp& operator=(const SequentialOpenMp&) = delete;

 private:
  int threads_before_;
};

// C[kBf16TileRows x columns] = A B by oneDNN, bf16 in, f32 out. The height is fixed: with it and
// one thread, a row's bits cannot depend on the number of rows. 32 rows are two AMX tiles; from
// there on the rate does not depend on the height.
inline constexpr int kBf16TileRows = 32;

class Bf16Matmul {
 public:
  // Throws dnnl::error. `threads`: how many may run it at once.
  Bf16Matmul(const dnnl::engine& engine, int64_t depth, int64_t columns, int threads);

  size_t packed_bytes() const { return description_.weights_desc().get_size(); }
  size_t scratch_bytes() const { return description_.scratchpad_desc().get_size(); }

  // `weight`: bf16 [columns, depth]. `packed`: packed_bytes(), 64-byte aligned. Throws dnnl::error.
  void Pack(const uint16_t* weight, void* packed) const;

  // a: bf16 [kBf16TileRows, depth]; c: f32 [kBf16TileRows, columns]. False when oneDNN failed.
  // REQUIRES: `thread` < threads, no other call with the same `thread` at the same time.
  bool Run(int thread, const uint16_t* a, const void* packed, float* c, void* scratch);

 private:
  struct PerThread {
    dnnl::memory a, b, c, scratch;
    dnnl::stream stream;
  };

  dnnl::engine engine_;
  int64_t depth_;
  int64_t columns_;
  dnnl::matmul::primitive_desc description_;
  dnnl::matmul primitive_;
  std::vector<PerThread> per_thread_;
};

// One primitive per shape, shared by all weights of that shape and kept for good.
class Bf16MatmulCache {
 public:
  explicit Bf16MatmulCache(int threads) : threads_(threads), engine_(dnnl::engine::kind::cpu, 0) {}

  // INTERNAL when oneDNN refuses.
  absl::StatusOr<Bf16Matmul*> Get(int64_t depth, int64_t columns);

 private:
  int threads_;
  dnnl::engine engine_;
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Bf16Matmul>> by_shape_;
};

}  // namespace darkroom::cpu
