#include "device/cpu/cpu_ops.h"

#include <gnu/libc-version.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/numerics.h"
#include "device/cpu/context.h"
#include "device/cpu/ops_internal.h"
#include "device/limits.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace darkroom {
namespace {

// Raised when packed weights lie otherwise in memory though the program's results stay the same.
constexpr int kPackedLayoutVersion = 1;

// Every op has run when its call returns.
class CpuStream : public Stream {
 public:
  absl::Status Synchronize() override { return absl::OkStatus(); }
};

class CpuBuffer : public DeviceBuffer {
 public:
  explicit CpuBuffer(cpu::AlignedBuffer memory) : memory_(std::move(memory)) {}
  void* data() override { return memory_.data(); }
  size_t size() const override { return memory_.size(); }

 private:
  cpu::AlignedBuffer memory_;
};

// A packed table. What is shared must not be written, which its user knows.
class CpuTable : public DeviceBuffer {
 public:
  CpuTable(cpu::WeightMemory memory, size_t size) : memory_(std::move(memory)), size_(size) {}
  void* data() override { return memory_.data(); }
  size_t size() const override { return size_; }

 private:
  cpu::WeightMemory memory_;
  size_t size_;
};

class CpuOps : public Ops {
 public:
  explicit CpuOps(int threads) : context_(threads) {}

  std::string DeviceName() const override {
    return absl::StrCat("cpu ", context_.isa.name, ", ", context_.pool.threads(), " threads");
  }
  std::string Isa() const override { return context_.isa.name; }
  std::string Libraries() const override {
    const dnnl_version_t* version = dnnl_version();
    // The C library's sine and exponential make the timestep embeddings.
    return absl::StrCat("onednn ", version->major, ".", version->minor, ".", version->patch,
                        ", glibc ", gnu_get_libc_version());
  }
  bool Supports(DType dtype) const override {
    return dtype == DType::kF32 || dtype == DType::kBf16;
  }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override {
    auto memory = cpu::AlignedBuffer::Make(bytes);
    if (!memory.ok()) return memory.status();
    return std::make_unique<CpuBuffer>(*std::move(memory));
  }
  std::unique_ptr<Stream> CreateStream() override { return std::make_unique<CpuStream>(); }
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes, Stream&) override {
    return Copy("CopyToDevice", device, host, bytes);
  }
  absl::Status CopyToHost(void* host, const void* device, size_t bytes, Stream&) override {
    return Copy("CopyToHost", host, device, bytes);
  }
  absl::Status CopyOnDevice(void* to, const void* from, size_t bytes, Stream&) override {
    return Copy("CopyOnDevice", to, from, bytes);
  }

  absl::Status BeginWeights(const SharedWeights* shared) override {
    MutexLock lock(context_.mutex);
    context_.weights.reset();
    const std::string numerics =
        absl::StrCat(Isa(), "\n", Libraries(), "\n", kNumericsVersion, "\n", kPackedLayoutVersion);
    if (shared == nullptr) {
      context_.weights = std::make_unique<cpu::WeightArena>(numerics);
      return absl::OkStatus();
    }
    auto arena = cpu::WeightArena::Share(numerics, *shared);
    if (!arena.ok()) return arena.status();
    context_.weights = *std::move(arena);
    return absl::OkStatus();
  }
  absl::StatusOr<SharedWeights> EndWeights() override {
    MutexLock lock(context_.mutex);
    if (context_.weights == nullptr) {
      return absl::FailedPreconditionError("EndWeights: BeginWeights comes first");
    }
    return std::exchange(context_.weights, nullptr)->Finish();
  }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> PackTable(
      std::string_view name, size_t bytes, absl::FunctionRef<void(void*)> write) override {
    MutexLock lock(context_.mutex);
    auto memory = context_.AllocateWeight("table " + std::string(name), bytes);
    if (!memory.ok()) return memory.status();
    if (!memory->present()) write(memory->data());
    return std::make_unique<CpuTable>(*std::move(memory), bytes);
  }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                           DType compute) override {
    MutexLock lock(context_.mutex);
    return cpu::PackLinear(context_, parts, compute);
  }
  absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(const Tensor& weight, const Tensor& bias,
                                                       int stride, const ConvPadding& padding,
                                                       DType compute) override {
    MutexLock lock(context_.mutex);
    return cpu::PackConv(context_, weight, bias, stride, padding, compute);
  }

  absl::Status BindAdapter(LinearWeight&, int32_t, absl::Span<const AdapterPart>,
                           Stream&) override {
    return Error(absl::StatusCode::kUnimplemented, "ADAPTERS_NOT_ON_CPU",
                 "BindAdapter: the CPU backend applies no adapters; run the model on a GPU");
  }
  absl::Status Linear(const LinearArgs& args, const PackedBatch& batch, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Linear(context_, args, batch);
  }
  absl::Status LayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch,
                                 Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::LayerNormModulate(context_, args, batch);
  }
  absl::Status Norm(const NormArgs& args, const PackedBatch& batch, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Norm(context_, args, batch);
  }
  absl::Status QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::QkNormRope(context_, args, batch);
  }
  absl::Status Attention(const AttentionArgs& args, const PackedBatch& batch, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Attention(context_, args, batch);
  }
  absl::Status Patchify(const PatchifyArgs& args, const PackedBatch& batch, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Patchify(context_, args, batch);
  }
  absl::Status GatherRows(const GatherRowsArgs& args, const PackedBatch& batch, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::GatherRows(context_, args, batch);
  }
  absl::Status TimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch,
                                 Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::TimestepEmbedding(context_, args, batch);
  }
  absl::Status SamplerStep(const SamplerStepArgs& args, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::SamplerStep(context_, args);
  }
  absl::Status Add(const Tensor& x, const Tensor& y, const Tensor& out, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Add(context_, x, y, out);
  }
  absl::Status Silu(const Tensor& x, const Tensor& out, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Silu(context_, x, out);
  }
  absl::Status Conv2d(const Conv2dArgs& args, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Conv2d(context_, args);
  }
  absl::Status GroupNorm(const GroupNormArgs& args, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::GroupNorm(context_, args);
  }
  absl::Status Upsample2x(const Tensor& x, const Tensor& out, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::Upsample2x(context_, x, out);
  }
  absl::Status ToPixels(const Tensor& x, const Tensor& out, Stream&) override {
    MutexLock lock(context_.mutex);
    return cpu::ToPixels(context_, x, out);
  }

 private:
  static absl::Status Copy(const char* op, void* to, const void* from, size_t bytes) {
    if (bytes == 0) return absl::OkStatus();
    if (to == nullptr || from == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(op, ": a pointer is missing"));
    }
    std::memmove(to, from, bytes);
    return absl::OkStatus();
  }

  cpu::Context context_;
};

}  // namespace

std::unique_ptr<Ops> CreateCpuOps(int threads) {
  return std::make_unique<CpuOps>(std::clamp(threads, 1, kCpuThreadsMax));
}

}  // namespace darkroom
