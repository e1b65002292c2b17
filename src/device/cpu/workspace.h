#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace darkroom::cpu {

// Memory from the heap, 64-byte aligned, so that vectors never straddle cache lines.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // RESOURCE_EXHAUSTED when the machine has not that much. Contents are zero.
  static absl::StatusOr<AlignedBuffer> Make(size_t bytes);

  void* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
  size_t size_ = 0;
};

// Scratch of the ops: one part per thread and one that all share. Grows while the largest shapes
// run once, then never allocates again. Contents do not outlive an op.
class Workspace {
 public:
  explicit Workspace(int threads) : per_thread_(threads) {}

  // Makes room; earlier pointers become invalid when it grows.
  absl::Status Reserve(size_t bytes_per_thread, size_t bytes_shared = 0);

  template <typename T>
  T* thread(int thread) const {
    return static_cast<T*>(per_thread_[thread].data());
  }
  template <typename T>
  T* shared() const {
    return static_cast<T*>(shared_.data());
  }

 private:
  std::vector<AlignedBuffer> per_thread_;
  AlignedBuffer shared_;
};

}  // namespace darkroom::cpu
