#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

// Checks of the kernels that run wherever those do: in the emulator, and on a GPU on a machine that
// has nothing but CUDA. So they use CUDA's runtime and the standard library alone.

namespace darkroom::kernels::cases {

// Collects what a case found.
class Check {
 public:
  // A launch succeeded and the device has finished it.
  void Ok(const Result& result);
  void That(bool condition, const std::string& what);
  // ||got - want|| / ||want|| <= bound, and every element within ten times that of its size and the
  // tensor's. NaN is never near.
  void Near(const std::string& what, const std::vector<float>& got, const std::vector<double>& want,
            double bound);
  // Bit for bit.
  void Same(const std::string& what, const std::vector<float>& got, const std::vector<float>& want);

  bool ok() const { return faults_.empty(); }
  const std::vector<std::string>& faults() const { return faults_; }
  // The largest relative error seen by Near, and its bound.
  double error() const { return error_; }
  double bound() const { return bound_; }
  // Of the bits of all that Near saw: two runs of a case must agree.
  uint64_t digest() const { return digest_; }

 private:
  std::vector<std::string> faults_;
  double error_ = 0.0;
  double bound_ = 0.0;
  uint64_t digest_ = 14695981039346656037u;
};

struct Case {
  std::string name;
  std::function<void(Check&)> run;
};

// kSmall is what the emulator can run in a moment; kFull adds what wants a GPU.
enum class Extent { kSmall, kFull };
std::vector<Case> RowNormCases(Extent extent);
std::vector<Case> TokenCases(Extent extent);
std::vector<Case> LinearCases(Extent extent);
std::vector<Case> AdapterCases(Extent extent);
std::vector<Case> AttentionCases(Extent extent);
std::vector<Case> PictureCases(Extent extent);
std::vector<Case> RefusalCases(Extent extent);
// Tensors of more than 2^31 elements; nothing with kSmall.
std::vector<Case> LargeCases(Extent extent);
std::vector<Case> AllCases(Extent extent);

// Normal numbers that `dtype` can hold, the same for the same seed.
std::vector<float> Random(size_t count, uint32_t seed, DType dtype = DType::kF32,
                          float deviation = 1.0f, float mean = 0.0f);

// Memory on the device.
class DeviceBytes {
 public:
  // Every byte becomes `fill`; 0xff makes NaN of all floats.
  explicit DeviceBytes(size_t bytes, int fill = 0xff);
  DeviceBytes(DeviceBytes&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  DeviceBytes& operator=(DeviceBytes&&) = delete;
  ~DeviceBytes() { cudaFree(data_); }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

// Floats on the device in a dtype.
class DeviceFloats {
 public:
  // Filled with NaN.
  DeviceFloats(DType dtype, size_t count);
  DeviceFloats(DType dtype, const std::vector<float>& values);

  std::vector<float> Read() const;
  void* data() const { return memory_.data(); }
  float* f32() const { return static_cast<float*>(memory_.data()); }
  DType dtype() const { return dtype_; }

 private:
  DType dtype_;
  size_t count_;
  DeviceBytes memory_;
};

// A table of anything that is copied as bytes.
template <typename T>
class DeviceTable {
 public:
  explicit DeviceTable(const std::vector<T>& values) : memory_(values.size() * sizeof(T)) {
    cudaMemcpy(memory_.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  const T* data() const { return static_cast<const T*>(memory_.data()); }

 private:
  DeviceBytes memory_;
};

// Lengths of a sequence's prefix and second run.
struct Lengths {
  int32_t prefix = 0;
  int32_t rows = 0;
};

// A packed batch and its tables: prefixes, `gap` padding rows, second runs, `padding` rows.
class Batch {
 public:
  explicit Batch(const std::vector<Lengths>& sequences, int32_t gap = 0, int32_t padding = 0);

  const PackedBatch& device() const { return device_; }
  int64_t capacity() const { return device_.capacity; }
  int32_t live_rows() const { return live_rows_; }
  int32_t sequences() const { return static_cast<int32_t>(rows_.size()); }
  // The buffer's rows of a sequence, prefix first.
  const std::vector<int64_t>& rows(int32_t sequence) const {
    return rows_[static_cast<size_t>(sequence)];
  }
  int32_t sequence_of(int64_t row) const { return row_to_sequence_[static_cast<size_t>(row)]; }

 private:
  int32_t live_rows_ = 0;
  std::vector<std::vector<int64_t>> rows_;
  std::vector<int32_t> row_to_sequence_;
  std::vector<DeviceTable<int32_t>> tables_;
  PackedBatch device_;
};

// Whether the device runs what is compiled for sm_90a; the emulator does.
bool HasSm90();

// Deviations that rounding to a dtype costs, as bounds of Near.
inline double BoundOf(DType dtype) { return dtype == DType::kBf16 ? 4e-3 : 2e-6; }

}  // namespace darkroom::kernels::cases
