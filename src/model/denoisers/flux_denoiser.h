#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/denoisers/denoiser.h"
#include "model/prompt_encoder.h"
#include "model/transformers/flux.h"
#include "model/workspace.h"

namespace darkroom {

// diffusers' FluxPipeline: a free prompt, and with classifier-free guidance a negative one. All of
// a job's own data stay in its own device buffers; a step only fills tables of pointers to them.
class FluxDenoiser : public Denoiser {
 public:
  // `ops` must outlive this object. The encoder's widths are those of the transformer's
  // configuration.
  FluxDenoiser(std::unique_ptr<FluxTransformer> transformer, std::unique_ptr<PromptEncoder> encoder,
               Ops& ops);

  absl::Status Load(DType compute, Stream& stream) override;
  int latent_channels() const override { return transformer_->config().latent_channels(); }
  int patch() const override { return FluxConfig::kPatch; }
  int layers() const override { return transformer_->config().blocks(); }
  int64_t width() const override { return transformer_->config().dim(); }
  int text_tokens_max() const override { return encoder_->tokens_max(); }
  absl::StatusOr<std::unique_ptr<Conditioning>> Encode(const ConditioningRequest& request,
                                                       Stream& stream) override;
  int64_t RowsOf(const StepJob& job) const override;
  size_t WorkspaceBytes(int64_t rows, int64_t sequences) const override;
  absl::Status RunBlocks(absl::Span<const StepJob> jobs, BlockRange blocks,
                         Stream& stream) override;

 private:
  // A prompt before the first block, on the device.
  struct Branch;
  // The rotation of every image token of one size, on the device.
  struct Rotation;
  // Both branches of one job, and its rotation.
  struct Known;
  static const Known& KnownOf(const StepJob& job);
  // What kernels read besides tensors; the same layout on host and device.
  struct Tables;
  // Where everything lies in the workspace.
  struct Memory;
  // Capacities of one packed step.
  struct Shape {
    int64_t text = 0;
    int64_t image = 0;
    int32_t sequences = 0;
  };

  absl::StatusOr<Branch> EncodeBranch(const ConditioningRequest& request, std::string_view prompt,
                                      Stream& stream);
  absl::StatusOr<std::shared_ptr<Rotation>> RotationOf(int latent_height, int latent_width,
                                                       Stream& stream);
  Shape ShapeOf(absl::Span<const StepJob> jobs) const;
  Memory MakeMemory(char* base, const Shape& shape) const;
  void FillTables(absl::Span<const StepJob> jobs, const Shape& shape, const Tables& host) const;
  // Where the rows of every sequence lie between two blocks.
  void FillParked(absl::Span<const StepJob> jobs, const Shape& shape);

  std::unique_ptr<FluxTransformer> transformer_;
  std::unique_ptr<PromptEncoder> encoder_;
  Ops& ops_;
  Workspace workspace_;
  Workspace prompt_workspace_;
  std::vector<char> tables_staging_;
  std::vector<ParkedRows> parked_;  // of the running step
  // By latent height and width; one lives as long as a job uses it.
  std::map<std::pair<int, int>, std::weak_ptr<Rotation>> rotations_;
};

}  // namespace darkroom
