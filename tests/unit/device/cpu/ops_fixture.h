#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "darkroom/ops.h"
#include "device/cpu/cpu_ops.h"
#include "gtest/gtest.h"

namespace darkroom {

inline float Bf16Round(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&value, &bits, sizeof(bits));
  return value;
}

// A tensor with its memory, of f32 or bf16. Made of NaN, so that what an op forgets shows.
class OwnedTensor {
 public:
  OwnedTensor() = default;
  OwnedTensor(DType dtype, std::initializer_list<int64_t> dims) : tensor_(nullptr, dtype, dims) {
    bytes_.assign(tensor_.bytes() + 64, 0xff);
    tensor_.data = bytes_.data();
  }
  OwnedTensor(const OwnedTensor& other) { *this = other; }
  OwnedTensor& operator=(const OwnedTensor& other) {
    bytes_ = other.bytes_;
    tensor_ = other.tensor_;
    tensor_.data = bytes_.data();
    return *this;
  }

  const Tensor& operator*() const { return tensor_; }
  const Tensor* operator->() const { return &tensor_; }
  int64_t row_elements() const { return tensor_.size() / tensor_.dims[0]; }

  float Get(int64_t i) const {
    if (tensor_.dtype == DType::kF32) return tensor_.as<float>()[i];
    const uint32_t bits = uint32_t{tensor_.as<uint16_t>()[i]} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  void Set(int64_t i, float value) {
    if (tensor_.dtype == DType::kF32) {
      tensor_.as<float>()[i] = value;
      return;
    }
    const float rounded = Bf16Round(value);
    uint32_t bits;
    std::memcpy(&bits, &rounded, sizeof(bits));
    tensor_.as<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
  }

  // Random normal values in rows [begin, end) of the first dimension.
  void FillRows(std::mt19937& random, int64_t begin, int64_t end, float spread = 1.0f,
                float mean = 0.0f) {
    std::normal_distribution<float> normal(mean, spread);
    for (int64_t i = begin * row_elements(); i < end * row_elements(); ++i) Set(i, normal(random));
  }
  void Fill(std::mt19937& random, float spread = 1.0f, float mean = 0.0f) {
    FillRows(random, 0, tensor_.dims[0], spread, mean);
  }

  // The bytes of rows [begin, end).
  std::vector<uint8_t> Rows(int64_t begin, int64_t end) const {
    const size_t row_bytes = row_elements() * ByteSize(tensor_.dtype);
    return {bytes_.begin() + begin * row_bytes, bytes_.begin() + end * row_bytes};
  }
  void SetRows(int64_t begin, const std::vector<uint8_t>& rows) {
    std::memcpy(bytes_.data() + begin * row_elements() * ByteSize(tensor_.dtype), rows.data(),
                rows.size());
  }

 private:
  std::vector<uint8_t> bytes_;
  Tensor tensor_;
};

// A packed batch with its tables. Rows beyond the sequences are padding.
class OwnedBatch {
 public:
  explicit OwnedBatch(const std::vector<int>& lengths, int padding = 0, int spare_sequences = 0) {
    boundaries_.push_back(0);
    for (const int length : lengths) {
      row_to_sequence_.insert(row_to_sequence_.end(), length,
                              static_cast<int32_t>(boundaries_.size()) - 1);
      boundaries_.push_back(boundaries_.back() + length);
    }
    live_rows_ = boundaries_.back();
    live_sequences_ = static_cast<int32_t>(lengths.size());
    // Padding may hold anything.
    row_to_sequence_.insert(row_to_sequence_.end(), padding, -12345);
    boundaries_.insert(boundaries_.end(), spare_sequences, -12345);
    batch_.capacity = live_rows_ + padding;
    batch_.sequences_max = live_sequences_ + spare_sequences;
    batch_.live_rows = &live_rows_;
    batch_.live_sequences = &live_sequences_;
    batch_.boundaries = boundaries_.data();
    batch_.row_to_sequence = row_to_sequence_.data();
  }
  OwnedBatch(const OwnedBatch&) = delete;
  OwnedBatch& operator=(const OwnedBatch&) = delete;

  const PackedBatch& operator*() const { return batch_; }
  PackedBatch& mutable_batch() { return batch_; }
  int32_t& live_rows() { return live_rows_; }
  std::vector<int32_t>& boundaries() { return boundaries_; }
  std::vector<int32_t>& row_to_sequence() { return row_to_sequence_; }

 private:
  std::vector<int32_t> boundaries_;
  std::vector<int32_t> row_to_sequence_;
  int32_t live_rows_ = 0;
  int32_t live_sequences_ = 0;
  PackedBatch batch_;
};

// Accumulates ||out - reference|| / ||reference||.
class RelativeError {
 public:
  void Add(double out, double reference) {
    difference_ += (out - reference) * (out - reference);
    reference_ += reference * reference;
  }
  double value() const {
    return std::isfinite(difference_) ? std::sqrt(difference_ / reference_)
                                      : std::numeric_limits<double>::infinity();
  }

 private:
  double difference_ = 0.0;
  double reference_ = 1e-300;
};

// One backend and its stream per thread count.
class OpsTest : public ::testing::Test {
 protected:
  static Ops& OpsWith(int threads) {
    static std::unique_ptr<Ops> all[4];
    if (all[threads] == nullptr) all[threads] = CreateCpuOps(threads);
    return *all[threads];
  }
  static Ops& ops() { return OpsWith(2); }

  static std::vector<DType> ComputeTypes() { return {DType::kF32, DType::kBf16}; }

  std::mt19937 random_{20250};
  std::unique_ptr<Stream> stream_ = ops().CreateStream();
};

}  // namespace darkroom
