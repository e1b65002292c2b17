#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/class_names.h"
#include "model/denoisers/denoiser.h"
#include "model/transformers/dit.h"
#include "model/workspace.h"

namespace darkroom {

// diffusers' DiTPipeline: the prompt is the name of a class. Guidance's other branch is the class
// that stands for none.
class DitDenoiser : public Denoiser {
 public:
  // `ops` must outlive this object.
  DitDenoiser(std::unique_ptr<DitTransformer> transformer, ClassNames classes, Ops& ops);

  absl::Status Load(DType compute, Stream& stream) override;
  const ClassNames& classes() const { return classes_; }
  int latent_channels() const override { return transformer_->config().in_channels; }
  int patch() const override { return transformer_->config().patch; }
  int layers() const override { return transformer_->config().layers; }
  int64_t width() const override { return transformer_->config().dim(); }
  int text_tokens_max() const override { return 0; }
  absl::StatusOr<std::unique_ptr<Conditioning>> Encode(const ConditioningRequest& request,
                                                       Stream& stream) override;
  int64_t RowsOf(const StepJob& job) const override {
    return TokensOf(job.latents) * (job.guided() ? 2 : 1);
  }
  size_t WorkspaceBytes(int64_t rows, int64_t sequences) const override;
  absl::Status RunBlocks(absl::Span<const StepJob> jobs, BlockRange blocks,
                         Stream& stream) override;

 private:
  // What kernels read besides tensors; the same layout on host and device.
  struct Tables;
  // Where everything lies in the workspace.
  struct Memory;

  // Labels and positions of one job, in host memory.
  struct Known;
  static const Known& KnownOf(const StepJob& job);

  int64_t TokensOf(const LatentView& latents) const {
    const int patch = transformer_->config().patch;
    return int64_t{latents.height / patch} * (latents.width / patch);
  }
  std::shared_ptr<const std::vector<float>> Positions(int latent_size);
  Memory MakeMemory(char* base, int64_t capacity, int32_t sequences_max) const;
  void FillTables(absl::Span<const StepJob> jobs, const Tables& host) const;
  void FillPositions(const LatentView& latents, const std::vector<float>& positions,
                     float* out) const;
  absl::Status CopyRows(absl::Span<const StepJob> jobs, const Memory& memory, Stream& stream);

  std::unique_ptr<DitTransformer> transformer_;
  ClassNames classes_;
  Ops& ops_;
  Workspace workspace_;
  std::vector<char> tables_staging_;
  std::vector<float> labels_staging_;
  std::vector<float> positions_staging_;
  std::vector<ParkedRows> parked_;  // of the running step
  std::vector<uint64_t> key_;
  // The batch whose labels and positions are on the device, and the memory they were copied to.
  std::vector<uint64_t> resident_;
  int resident_growths_ = 0;
  std::shared_ptr<const std::vector<float>> null_labels_;  // [layers, dim]
  // By latent size; a table lives as long as a job uses it.
  std::map<int, std::weak_ptr<const std::vector<float>>> positions_;
};

}  // namespace darkroom
