#pragma once

#include <memory>
#include <random>
#include <vector>

#include "device/cpu/cpu_ops.h"
#include "device/cuda/cuda_ops.h"
#include "gtest/gtest.h"
#include "kernels/emulator/runtime.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {

// The backend on the emulated device, and the CPU's to compare with.
class CudaOpsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    emulator::SetDevices(1, 90);
    ops_ = *CreateCudaOps(0);
    stream_ = ops_->CreateStream();
  }
  void TearDown() override {
    emulator::FailAllocation(-1);
    emulator::SetDevices(1, 90);
  }

  // A copy of `tensor` on the device; what it holds lives as long as the test.
  Tensor OnDevice(const Tensor& tensor) {
    buffers_.push_back(*ops_->Allocate(tensor.bytes()));
    EXPECT_TRUE(
        ops_->CopyToDevice(buffers_.back()->data(), tensor.data, tensor.bytes(), *stream_).ok());
    Tensor device = tensor;
    device.data = buffers_.back()->data();
    return device;
  }
  template <typename T>
  const T* Table(const T* values, size_t count) {
    buffers_.push_back(*ops_->Allocate(count * sizeof(T)));
    EXPECT_TRUE(
        ops_->CopyToDevice(buffers_.back()->data(), values, count * sizeof(T), *stream_).ok());
    return static_cast<const T*>(buffers_.back()->data());
  }
  PackedBatch OnDevice(const PackedBatch& batch) {
    PackedBatch device = batch;
    const auto sequences = static_cast<size_t>(batch.sequences_max);
    device.live_rows = Table(batch.live_rows, 1);
    device.live_sequences = Table(batch.live_sequences, 1);
    device.boundaries = Table(batch.boundaries, sequences + 1);
    device.row_to_sequence = Table(batch.row_to_sequence, static_cast<size_t>(batch.capacity));
    return device;
  }
  OwnedTensor Back(const Tensor& device, std::initializer_list<int64_t> dims) {
    OwnedTensor host(device.dtype, dims);
    EXPECT_TRUE(ops_->CopyToHost(host->data, device.data, host->bytes(), *stream_).ok());
    const absl::Status status = stream_->Synchronize();
    EXPECT_TRUE(status.ok()) << status;
    return host;
  }
  static void ExpectNear(const OwnedTensor& got, const OwnedTensor& want, double bound) {
    RelativeError error;
    for (int64_t i = 0; i < want->size(); ++i) error.Add(got.Get(i), want.Get(i));
    EXPECT_LE(error.value(), bound);
  }
  OwnedTensor Random(DType dtype, std::initializer_list<int64_t> dims) {
    OwnedTensor tensor(dtype, dims);
    tensor.Fill(random_);
    return tensor;
  }

  std::mt19937 random_{7};
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> stream_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;
  const std::unique_ptr<Ops> cpu_ = CreateCpuOps(1);
  const std::unique_ptr<Stream> cpu_stream_ = cpu_->CreateStream();
};

}  // namespace darkroom
