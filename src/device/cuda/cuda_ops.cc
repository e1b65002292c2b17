#include "device/cuda/cuda_ops.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/cuda_memory.h"
#include "device/cuda/cuda_stream.h"
#include "device/cuda/graph_cache.h"
#include "device/cuda/nvtx_range.h"
#include "device/cuda/ops_internal.h"
#include "device/cuda/weights.h"

namespace darkroom {
namespace {

using cuda::CudaStream;
using cuda::ToStatus;

class CudaOps : public Ops {
 public:
  CudaOps(int device, kernels::DeviceTraits traits)
      : device_(device), traits_(traits), packing_(device) {}

  std::string DeviceName() const override { return absl::StrCat("cuda:", device_, " ", Isa()); }
  std::string Isa() const override {
    return absl::StrCat("sm_", traits_.compute_capability,
                        traits_.compute_capability == 90 ? "a" : "");
  }
  std::string Libraries() const override { return absl::StrCat("cuda ", CUDART_VERSION); }
  bool Supports(DType dtype) const override {
    return dtype == DType::kF32 || dtype == DType::kBf16;
  }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override {
    if (absl::Status status = cuda::UseDevice(device_); !status.ok()) return status;
    auto memory = cuda::DeviceMemory::Make(bytes);
    if (!memory.ok()) return memory.status();
    return std::make_unique<cuda::CudaBuffer>(*std::move(memory));
  }
  std::unique_ptr<Stream> CreateStream() override { return std::make_unique<CudaStream>(device_); }
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes, Stream& stream) override {
    return On("CopyToDevice", stream,
              [&](CudaStream& on) { return on.CopyToDevice(device, host, bytes); });
  }
  absl::Status CopyToHost(void* host, const void* device, size_t bytes, Stream& stream) override {
    return On("CopyToHost", stream,
              [&](CudaStream& on) { return on.CopyToHost(host, device, bytes); });
  }
  absl::Status CopyOnDevice(void* to, const void* from, size_t bytes, Stream& stream) override {
    return On("CopyOnDevice", stream,
              [&](CudaStream& on) { return on.CopyOnDevice(to, from, bytes); });
  }

  // Device memory is not shared between processes.
  absl::Status BeginWeights(const SharedWeights* shared) override {
    if (shared == nullptr || shared->segments.empty()) return absl::OkStatus();
    return Error(absl::StatusCode::kFailedPrecondition, "SHARED_WEIGHTS_MISMATCH",
                 "BeginWeights: the CUDA backend shares no weights");
  }
  absl::StatusOr<SharedWeights> EndWeights() override { return SharedWeights(); }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> PackTable(
      std::string_view, size_t bytes, absl::FunctionRef<void(void*)> write) override {
    std::vector<char> host(bytes);
    write(host.data());
    auto buffer = Allocate(bytes);
    if (!buffer.ok()) return buffer.status();
    absl::Status status = CopyToDevice((*buffer)->data(), host.data(), bytes, packing_);
    if (status.ok()) status = packing_.Synchronize();
    if (!status.ok()) return status;
    return buffer;
  }
  using Ops::PackLinear;
  absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                           DType compute) override {
    if (absl::Status status = packing_.Enter(); !status.ok()) return status;
    return cuda::PackLinear(parts, compute, packing_);
  }
  absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(const Tensor& weight, const Tensor& bias,
                                                       int stride, const ConvPadding& padding,
                                                       DType compute) override {
    if (absl::Status status = packing_.Enter(); !status.ok()) return status;
    return cuda::PackConv(weight, bias, stride, padding, compute, packing_);
  }

  // What is recorded knows how many ranks the adapters have and where scratch memory lies.
  absl::Status Replay(std::string_view key, Stream& stream,
                      absl::FunctionRef<absl::Status()> work) override {
    return On("Replay", stream, [&](CudaStream& on) {
      return on.graphs().Run(absl::StrCat(std::string(key), " adapters ", adapter_changes_.load(),
                                          " scratch ", on.scratch_growths()),
                             on, work);
    });
  }
  absl::Status BindAdapter(LinearWeight& weight, int32_t adapter,
                           absl::Span<const AdapterPart> parts, Stream& stream) override {
    return On("BindAdapter", stream, [&](CudaStream& on) {
      ++adapter_changes_;
      return static_cast<cuda::CudaLinearWeight&>(weight).Bind(adapter, parts, on);
    });
  }
  absl::Status Linear(const LinearArgs& args, const PackedBatch& batch, Stream& stream) override {
    return On("Linear", stream,
              [&](CudaStream& on) { return cuda::Linear(traits_, args, batch, on); });
  }
  absl::Status LayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch,
                                 Stream& stream) override {
    return On("LayerNormModulate", stream,
              [&](CudaStream& on) { return cuda::LayerNormModulate(args, batch, on); });
  }
  absl::Status Norm(const NormArgs& args, const PackedBatch& batch, Stream& stream) override {
    return On("Norm", stream, [&](CudaStream& on) { return cuda::Norm(args, batch, on); });
  }
  absl::Status QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch,
                          Stream& stream) override {
    return On("QkNormRope", stream,
              [&](CudaStream& on) { return cuda::QkNormRope(args, batch, on); });
  }
  absl::Status Attention(const AttentionArgs& args, const PackedBatch& batch,
                         Stream& stream) override {
    return On("Attention", stream,
              [&](CudaStream& on) { return cuda::Attention(traits_, args, batch, on); });
  }
  absl::Status Patchify(const PatchifyArgs& args, const PackedBatch& batch,
                        Stream& stream) override {
    return On("Patchify", stream, [&](CudaStream& on) { return cuda::Patchify(args, batch, on); });
  }
  absl::Status GatherRows(const GatherRowsArgs& args, const PackedBatch& batch,
                          Stream& stream) override {
    return On("GatherRows", stream,
              [&](CudaStream& on) { return cuda::GatherRows(args, batch, on); });
  }
  absl::Status TimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch,
                                 Stream& stream) override {
    return On("TimestepEmbedding", stream,
              [&](CudaStream& on) { return cuda::TimestepEmbedding(args, batch, on); });
  }
  absl::Status SamplerStep(const SamplerStepArgs& args, Stream& stream) override {
    return On("SamplerStep", stream, [&](CudaStream& on) { return cuda::SamplerStep(args, on); });
  }
  absl::Status Add(const Tensor& x, const Tensor& y, const Tensor& out, Stream& stream) override {
    return On("Add", stream, [&](CudaStream& on) { return cuda::Add(x, y, out, on); });
  }
  absl::Status Silu(const Tensor& x, const Tensor& out, Stream& stream) override {
    return On("Silu", stream, [&](CudaStream& on) { return cuda::Silu(x, out, on); });
  }
  absl::Status Conv2d(const Conv2dArgs& args, Stream& stream) override {
    return On("Conv2d", stream, [&](CudaStream& on) { return cuda::Conv2d(args, on); });
  }
  absl::Status GroupNorm(const GroupNormArgs& args, Stream& stream) override {
    return On("GroupNorm", stream, [&](CudaStream& on) { return cuda::GroupNorm(args, on); });
  }
  absl::Status Upsample2x(const Tensor& x, const Tensor& out, Stream& stream) override {
    return On("Upsample2x", stream, [&](CudaStream& on) { return cuda::Upsample2x(x, out, on); });
  }
  absl::Status ToPixels(const Tensor& x, const Tensor& out, Stream& stream) override {
    return On("ToPixels", stream, [&](CudaStream& on) { return cuda::ToPixels(x, out, on); });
  }

 private:
  // Every op: entered, and named in a profile.
  template <typename Work>
  static absl::Status On(const char* op, Stream& stream, Work&& work) {
    const cuda::NvtxRange range(op);
    auto& on = static_cast<CudaStream&>(stream);
    if (absl::Status status = on.Enter(); !status.ok()) return status;
    return work(on);
  }

  const int device_;
  const kernels::DeviceTraits traits_;
  std::atomic<int64_t> adapter_changes_ = 0;
  CudaStream packing_;  // what weights come to the device on
};

}  // namespace

absl::StatusOr<std::unique_ptr<Ops>> CreateCudaOps(int device) {
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess) devices = 0;
  if (found != cudaSuccess || device < 0 || device >= devices) {
    return Error(absl::StatusCode::kUnavailable, "NO_CUDA_DEVICE",
                 absl::StrCat("CUDA device ", device, " is not there: this machine has ", devices,
                              " (", cudaGetErrorString(found), "); ",
                              devices > 0 ? absl::StrCat("0 to ", devices - 1, " or the cpu")
                                          : "use the cpu, or install a GPU and its driver"));
  }
  int major = 0;
  int minor = 0;
  kernels::DeviceTraits traits;
  for (const auto& [value, attribute] :
       {std::pair(&major, cudaDevAttrComputeCapabilityMajor),
        std::pair(&minor, cudaDevAttrComputeCapabilityMinor),
        std::pair(&traits.multiprocessors, cudaDevAttrMultiProcessorCount)}) {
    if (absl::Status status =
            ToStatus(cudaDeviceGetAttribute(value, attribute, device), "cudaDeviceGetAttribute");
        !status.ok()) {
      return status;
    }
  }
  traits.compute_capability = 10 * major + minor;
  constexpr int kOldest = 80;
  if (traits.compute_capability < kOldest) {
    return Error(absl::StatusCode::kFailedPrecondition, "CUDA_DEVICE_TOO_OLD",
                 absl::StrCat("CUDA device ", device, " has compute capability ", major, ".", minor,
                              "; 8.0 or newer is needed"));
  }
  if (absl::Status status = ToStatus(cudaSetDevice(device), "cudaSetDevice"); !status.ok()) {
    return status;
  }
  return std::make_unique<CudaOps>(device, traits);
}

absl::StatusOr<int64_t> CudaMemoryBytes(int device) {
  if (absl::Status status = cuda::UseDevice(device); !status.ok()) return status;
  size_t free = 0;
  size_t total = 0;
  if (absl::Status status = ToStatus(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
      !status.ok()) {
    return status;
  }
  return static_cast<int64_t>(total);
}

}  // namespace darkroom
