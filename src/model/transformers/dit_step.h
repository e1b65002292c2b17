#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/samplers/ddim.h"
#include "model/transformers/dit.h"
#include "model/workspace.h"

namespace darkroom {

// One job's part in a packed step. Pointers stay valid while the step runs.
struct DitStepJob {
  // Never used for two different sets of the host tensors below: unchanged batches are not copied
  // to the device again.
  uint64_t identity = 0;
  LatentView latents{};  // device memory; read and written
  // Host, DitAxisPositions of as many rows and columns of patches as the latents have.
  const float* row_positions = nullptr;
  const float* column_positions = nullptr;
  const float* conditional = nullptr;    // host, [layers, dim]
  const float* unconditional = nullptr;  // host, [layers, dim]; null: no guidance
  float timestep = 0;
  float guidance = 1;
  StepCoefficients step;
};

// Packs jobs of any sizes, timesteps and guidance into one batch, runs the transformer over it and
// applies each job's sampler step. A job with guidance is two sequences, conditional first.
//
// The bits of a job depend on the job alone: rows and sequences are independent in every op, and
// padding is never read.
//
// Thread: one at a time. Does not allocate once the largest batch was seen.
class DitStep {
 public:
  // Both must outlive this object.
  DitStep(DitTransformer& transformer, Ops& ops)
      : transformer_(transformer), ops_(ops), workspace_(ops) {}

  int64_t TokensOf(const LatentView& latents) const;
  // Rows a job takes.
  int64_t RowsOf(const DitStepJob& job) const {
    return TokensOf(job.latents) * (job.unconditional != nullptr ? 2 : 1);
  }
  // Device memory for a step of so many rows and sequences.
  size_t WorkspaceBytes(int64_t rows, int64_t sequences) const;

  // Done when it returns. A status other than OK is the device's failure.
  absl::Status Run(absl::Span<const DitStepJob> jobs, Stream& stream);

 private:
  // What kernels read besides tensors; the same layout on host and device.
  struct Tables;
  // Where everything lies in the workspace.
  struct Memory;

  Memory MakeMemory(char* base, int64_t capacity, int32_t sequences_max) const;
  void FillTables(absl::Span<const DitStepJob> jobs, const Tables& host) const;
  void FillPositions(const DitStepJob& job, float* out) const;
  absl::Status CopyRows(absl::Span<const DitStepJob> jobs, const Memory& memory, Stream& stream);

  DitTransformer& transformer_;
  Ops& ops_;
  Workspace workspace_;
  std::vector<char> tables_staging_;
  std::vector<float> labels_staging_;
  std::vector<float> positions_staging_;
  std::vector<uint64_t> key_;
  // The batch whose labels and positions are on the device, and the memory they were copied to.
  std::vector<uint64_t> resident_;
  int resident_growths_ = 0;
};

}  // namespace darkroom
