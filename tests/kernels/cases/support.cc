#include "kernels/cases/support.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

namespace darkroom::kernels::cases {
namespace {

size_t BytesOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

void Require(cudaError_t code, const char* what) {
  if (code != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(code));
  }
}

}  // namespace

void Check::Ok(const Result& result) {
  That(result.ok(), "launch: " + result.message);
  const cudaError_t code = cudaDeviceSynchronize();
  if (code != cudaSuccess) throw std::runtime_error(cudaGetErrorString(code));
}

void Check::That(bool condition, const std::string& what) {
  if (!condition) faults_.push_back(what);
}

void Check::Near(const std::string& what, const std::vector<float>& got,
                 const std::vector<double>& want, double bound) {
  That(got.size() == want.size(), what + ": sizes differ");
  for (const float value : got) {  // FNV-1a, by words
    digest_ = (digest_ ^ std::bit_cast<uint32_t>(value)) * 1099511628211u;
  }
  double difference = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  const double error = norm > 0.0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  if (!(error * bound_ <= error_ * bound) || bound_ == 0.0) {
    error_ = error;
    bound_ = bound;
  }
  That(error <= bound,
       what + ": error " + std::to_string(error) + ", bound " + std::to_string(bound));
  const double size = std::sqrt(norm / std::max<double>(1.0, static_cast<double>(want.size())));
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::abs(got[i] - want[i]) <= 10.0 * bound * (size + std::abs(want[i]))) continue;
    That(false, what + "[" + std::to_string(i) + "] is " + std::to_string(got[i]) + ", not " +
                    std::to_string(want[i]));
    break;
  }
}

void Check::Same(const std::string& what, const std::vector<float>& got,
                 const std::vector<float>& want) {
  That(got.size() == want.size(), what + ": sizes differ");
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(float)) == 0) continue;
    That(false, what + "[" + std::to_string(i) + "] is " + std::to_string(got[i]) +
                    ", not bitwise " + std::to_string(want[i]));
    return;
  }
}

std::vector<Case> AllCases(Extent extent) {
  std::vector<Case> all;
  for (auto* of : {RowNormCases, TokenCases, LinearCases, AdapterCases, AttentionCases,
                   PictureCases, RefusalCases, LargeCases}) {
    for (Case& one : of(extent)) all.push_back(std::move(one));
  }
  return all;
}

std::vector<float> Random(size_t count, uint32_t seed, DType dtype, float deviation, float mean) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(count);
  for (float& value : values) {
    value = normal(random);
    if (dtype == DType::kBf16) value = ToFloat(__float2bfloat16_rn(value));
  }
  return values;
}

bool HasSm90() {
  int major = 0, minor = 0;
  Require(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "attribute");
  Require(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "attribute");
  return major == 9 && minor == 0;
}

DeviceBytes::DeviceBytes(size_t bytes, int fill) {
  Require(cudaMalloc(&data_, bytes), "cudaMalloc");
  Require(cudaMemset(data_, fill, bytes), "cudaMemset");
}

DeviceFloats::DeviceFloats(DType dtype, size_t count)
    : dtype_(dtype), count_(count), memory_(count * BytesOf(dtype)) {}

DeviceFloats::DeviceFloats(DType dtype, const std::vector<float>& values)
    : DeviceFloats(dtype, values.size()) {
  std::vector<uint8_t> bytes(count_ * BytesOf(dtype));
  for (size_t i = 0; i < count_; ++i) {
    StoreElement(bytes.data(), dtype, static_cast<int64_t>(i), values[i]);
  }
  Require(cudaMemcpy(memory_.data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "copy");
}

std::vector<float> DeviceFloats::Read() const {
  std::vector<uint8_t> bytes(count_ * BytesOf(dtype_));
  Require(cudaMemcpy(bytes.data(), memory_.data(), bytes.size(), cudaMemcpyDeviceToHost), "copy");
  std::vector<float> values(count_);
  for (size_t i = 0; i < count_; ++i) {
    values[i] = LoadElement(bytes.data(), dtype_, static_cast<int64_t>(i));
  }
  return values;
}

Batch::Batch(const std::vector<Lengths>& sequences, int32_t gap, int32_t padding) {
  const auto count = static_cast<int32_t>(sequences.size());
  rows_.resize(sequences.size());
  std::vector<int32_t> prefixes = {0};
  std::vector<int32_t> boundaries;
  int32_t row = 0;
  for (int32_t s = 0; s < count; ++s) {
    for (int32_t i = 0; i < sequences[s].prefix; ++i) rows_[s].push_back(row++);
    prefixes.push_back(row);
    row_to_sequence_.resize(static_cast<size_t>(row), s);
  }
  row += gap;
  row_to_sequence_.resize(static_cast<size_t>(row), 0);
  boundaries.push_back(row);
  for (int32_t s = 0; s < count; ++s) {
    for (int32_t i = 0; i < sequences[s].rows; ++i) rows_[s].push_back(row++);
    boundaries.push_back(row);
    row_to_sequence_.resize(static_cast<size_t>(row), s);
  }
  live_rows_ = row;
  // Padding rows name a sequence that is not: reading by it is found out.
  row_to_sequence_.resize(static_cast<size_t>(row + padding), 1 << 30);
  // Tables are as long as their capacity, which is more than what lives.
  const int32_t unused = 3;
  boundaries.resize(boundaries.size() + unused, -(1 << 30));
  prefixes.resize(prefixes.size() + unused, -(1 << 30));
  for (const auto& table : {std::vector<int32_t>{live_rows_}, std::vector<int32_t>{count},
                            boundaries, row_to_sequence_, prefixes}) {
    tables_.emplace_back(table);
  }
  device_ = {.capacity = row + padding,
             .sequences_max = count + unused,
             .live_rows = tables_[0].data(),
             .live_sequences = tables_[1].data(),
             .boundaries = tables_[2].data(),
             .row_to_sequence = tables_[3].data(),
             .prefix_boundaries = prefixes[count] > 0 ? tables_[4].data() : nullptr};
}

}  // namespace darkroom::kernels::cases
