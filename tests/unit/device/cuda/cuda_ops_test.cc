#include "device/cuda/cuda_ops.h"

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "device/cuda/cuda_graph.h"
#include "device/cuda/cuda_stream.h"
#include "device/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/emulator/runtime.h"
#include "unit/device/cuda/cuda_fixture.h"

// The backend's host code and kernels on the emulator, whose streams run only when they are waited
// for.
namespace darkroom {
namespace {

using ::testing::HasSubstr;

TEST_F(CudaOpsTest, SaysWhichDeviceIsMissingOrTooOld) {
  const auto beyond = CreateCudaOps(3);
  EXPECT_EQ(ErrorReason(beyond.status()), "NO_CUDA_DEVICE");
  EXPECT_THAT(std::string(beyond.status().message()), HasSubstr("0 to 0 or the cpu"));
  emulator::SetDevices(0, 90);
  const auto none = CreateCudaOps(0);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(none.status()), "NO_CUDA_DEVICE");
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("driver version is insufficient"));
  emulator::SetDevices(2, 75);
  const auto old = CreateCudaOps(1);
  EXPECT_EQ(ErrorReason(old.status()), "CUDA_DEVICE_TOO_OLD");
  EXPECT_THAT(std::string(old.status().message()), HasSubstr("capability 7.5"));
  emulator::SetDevices(1, 80);
  EXPECT_EQ((*CreateCudaOps(0))->Isa(), "sm_80");
  EXPECT_EQ(ops_->Isa(), "sm_90a");
}

TEST_F(CudaOpsTest, HostMemoryMayChangeOnceACopyIsQueued) {
  const size_t bytes = 5 * kStagingBytes / 2 + 3;
  std::vector<char> host(bytes);
  for (size_t i = 0; i < bytes; ++i) host[i] = static_cast<char>(i * 2654435761u >> 13);
  const std::vector<char> before = host;
  auto buffer = ops_->Allocate(bytes);
  ASSERT_TRUE(buffer.ok());
  ASSERT_TRUE(ops_->CopyToDevice((*buffer)->data(), host.data(), bytes, *stream_).ok());
  std::fill(host.begin(), host.end(), 'x');
  ASSERT_TRUE(ops_->CopyToHost(host.data(), (*buffer)->data(), bytes, *stream_).ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(host, before);
  auto other = ops_->Allocate(bytes);
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE(ops_->CopyOnDevice((*other)->data(), (*buffer)->data(), bytes, *stream_).ok());
  std::fill(host.begin(), host.end(), 'x');
  ASSERT_TRUE(ops_->CopyToHost(host.data(), (*other)->data(), bytes, *stream_).ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(host, before);
}

TEST_F(CudaOpsTest, MemoryBeginsAsZeros) {
  auto buffer = *ops_->Allocate(1000);
  const OwnedTensor zeros = Back(Tensor(buffer->data(), DType::kF32, {250}), {250});
  for (int64_t i = 0; i < 250; ++i) ASSERT_EQ(zeros.Get(i), 0.0f);
  EXPECT_EQ(ops_->Allocate(kBufferBytesMax + 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(CudaOpsTest, LinearIsTheCpus) {
  const OwnedBatch batch({3, 9, 30}, /*padding=*/3);
  for (const DType compute : {DType::kF32, DType::kBf16}) {
    for (const DType given : {DType::kF32, DType::kBf16}) {
      const OwnedTensor weight = Random(given, {72, 48}), bias = Random(DType::kF32, {50});
      const OwnedTensor x = Random(DType::kF32, {45, 48}), gate = Random(DType::kF32, {3, 72});
      OwnedTensor residual = Random(DType::kF32, {45, 72});
      const LinearPart parts[] = {
          {Tensor(weight->data, given, {50, 48}), *bias},
          {Tensor(weight->as<char>() + 50 * 48 * ByteSize(given), given, {22, 48}), Tensor()}};
      const auto on_cpu = *cpu_->PackLinear(parts, compute);
      const auto on_cuda = *ops_->PackLinear(parts, compute);
      LinearArgs args{.x = *x, .activation = Activation::kGeluTanh, .gate = *gate};
      const Tensor out = OnDevice(*residual);
      LinearArgs device = args;
      device.weight = on_cuda.get();
      device.x = OnDevice(*x);
      device.gate = OnDevice(*gate);
      device.residual = device.out = out;
      ASSERT_TRUE(ops_->Linear(device, OnDevice(*batch), *stream_).ok());
      const OwnedTensor got = Back(out, {45, 72});
      args.weight = on_cpu.get();
      args.residual = args.out = *residual;
      ASSERT_TRUE(cpu_->Linear(args, *batch, *cpu_stream_).ok());
      ExpectNear(got, residual, compute == DType::kF32 ? 2e-6 : 2e-3);
    }
  }
}

TEST_F(CudaOpsTest, ConvolutionIsTheCpus) {
  for (const DType compute : {DType::kF32, DType::kBf16}) {
    const OwnedTensor weight = Random(DType::kF32, {10, 16, 3, 3}),
                      bias = Random(DType::kF32, {10});
    const OwnedTensor x = Random(DType::kF32, {7, 9, 16});
    OwnedTensor want(DType::kF32, {4, 5, 10});
    const ConvPadding padding{.top = 1, .left = 1, .bottom = 1, .right = 1};
    const auto on_cpu = *cpu_->PackConv(*weight, *bias, 2, padding, compute);
    const auto on_cuda = *ops_->PackConv(*weight, *bias, 2, padding, compute);
    ASSERT_TRUE(cpu_->Conv2d({.x = *x, .weight = on_cpu.get(), .out = *want}, *cpu_stream_).ok());
    const Tensor out = OnDevice(*want);
    ASSERT_TRUE(
        ops_->Conv2d({.x = OnDevice(*x), .weight = on_cuda.get(), .out = out}, *stream_).ok());
    ExpectNear(Back(out, {4, 5, 10}), want, compute == DType::kF32 ? 2e-6 : 2e-3);
  }
}

// Packs a weight and multiplies by it: as many kinds of memory as there are.
absl::Status PackAndMultiply(Ops& ops) {
  const auto stream = ops.CreateStream();
  const std::vector<float> ones(64, 1.0f);
  std::vector<float> copied(ones);
  const Tensor matrix(copied.data(), DType::kF32, {8, 8});
  auto weight = ops.PackLinear(matrix, Tensor(), DType::kBf16);
  if (!weight.ok()) return weight.status();
  auto rows = ops.Allocate(64 * 4);
  if (!rows.ok()) return rows.status();
  auto out = ops.Allocate(64 * 4);
  if (!out.ok()) return out.status();
  const int32_t tables[] = {8, 1, 0, 8};
  auto table = ops.PackTable("tables", sizeof(tables),
                             [&](void* host) { std::memcpy(host, tables, sizeof(tables)); });
  if (!table.ok()) return table.status();
  const auto* device = static_cast<const int32_t*>((*table)->data());
  PackedBatch batch;
  batch.capacity = 8;
  batch.sequences_max = 1;
  batch.live_rows = device;
  batch.live_sequences = device + 1;
  batch.boundaries = device + 2;
  absl::Status status = ops.CopyToDevice((*rows)->data(), ones.data(), 64 * 4, *stream);
  if (!status.ok()) return status;
  status = ops.Linear({.x = Tensor((*rows)->data(), DType::kF32, {8, 8}),
                       .weight = weight->get(),
                       .out = Tensor((*out)->data(), DType::kF32, {8, 8})},
                      batch, *stream);
  if (!status.ok()) return status;
  std::vector<float> host(64);
  status = ops.CopyToHost(host.data(), (*out)->data(), 64 * 4, *stream);
  if (status.ok()) status = stream->Synchronize();
  if (!status.ok()) return status;
  return host == std::vector<float>(64, 8.0f) ? status : absl::InternalError("wrong product");
}

TEST_F(CudaOpsTest, SurvivesAnyAllocationThatFails) {
  stream_.reset();
  ops_.reset();
  const int64_t before = emulator::LiveObjects();
  int failures = 0;
  for (;; ++failures) {
    const auto ops = *CreateCudaOps(0);
    emulator::FailAllocation(failures);
    const absl::Status status = PackAndMultiply(*ops);
    emulator::FailAllocation(-1);
    if (status.ok()) break;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    // The next attempt has memory again.
    EXPECT_TRUE(PackAndMultiply(*ops).ok()) << failures;
    ASSERT_LT(failures, 100);
  }
  EXPECT_GE(failures, 8);
  EXPECT_EQ(emulator::LiveObjects(), before);
}

class CudaGraphTest : public CudaOpsTest {
 protected:
  cuda::CudaStream& stream() { return static_cast<cuda::CudaStream&>(*stream_); }
};

TEST_F(CudaGraphTest, ReplaysWithWhatItsTablesHold) {
  const OwnedTensor y = Random(DType::kF32, {4, 6});
  const Tensor device_y = OnDevice(*y), sum = OnDevice(*Random(DType::kF32, {4, 6}));
  ASSERT_TRUE(stream_->Synchronize().ok());
  const int64_t work = emulator::WorkDone();
  const auto graph = cuda::CudaGraph::Capture(
      stream(), [&] { return ops_->Add(device_y, device_y, sum, *stream_); });
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(emulator::WorkDone(), work);
  for (int round = 0; round < 3; ++round) {
    const OwnedTensor now = Random(DType::kF32, {4, 6});
    ASSERT_TRUE(ops_->CopyToDevice(device_y.data, now->data, now->bytes(), *stream_).ok());
    ASSERT_TRUE(graph->Launch(stream()).ok());
    const OwnedTensor got = Back(sum, {4, 6});
    for (int64_t i = 0; i < 24; ++i) EXPECT_EQ(got.Get(i), 2 * now.Get(i));
  }
}

TEST_F(CudaGraphTest, WhatCannotBeRecordedIsRefusedAndTheStreamGoesOn) {
  const OwnedTensor x = Random(DType::kF32, {4, 6});
  const Tensor device = OnDevice(*x), out = OnDevice(*x);
  const auto capture = [&](const std::function<absl::Status()>& work) {
    return ErrorReason(cuda::CudaGraph::Capture(stream(), work).status());
  };
  EXPECT_EQ(capture([&] { return ops_->CopyToDevice(device.data, x->data, 4, *stream_); }),
            "COPY_IN_CAPTURE");
  EXPECT_EQ(capture([&] { return stream().Scratch(1 << 20).status(); }), "GROWS_IN_CAPTURE");
  EXPECT_EQ(capture([&] {
              stream_->Synchronize().IgnoreError();
              return absl::OkStatus();
            }),
            "CAPTURE_BROKEN");
  EXPECT_EQ(capture([&] { return ops_->Allocate(10).status(); }), "CUDA_ERROR");
  ASSERT_TRUE(ops_->Add(device, device, out, *stream_).ok());
  const OwnedTensor got = Back(out, {4, 6});
  for (int64_t i = 0; i < 24; ++i) EXPECT_EQ(got.Get(i), 2 * x.Get(i));
}

}  // namespace
}  // namespace darkroom
