#include "model/denoisers/dit_denoiser.h"

#include <algorithm>

#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

template <typename Integer>
Integer RoundUp(Integer value, Integer multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int SequencesOf(const StepJob& job) { return job.guided() ? 2 : 1; }

}  // namespace

struct DitDenoiser::Known : Conditioning {
  void Wipe(Ops& ops, Stream& stream) override { std::fill(labels.begin(), labels.end(), 0.0f); }

  std::vector<float> labels;                              // [layers, dim]
  std::shared_ptr<const std::vector<float>> null_labels;  // the same
  std::shared_ptr<const std::vector<float>> positions;    // DitAxisPositions of the job's size
};

const DitDenoiser::Known& DitDenoiser::KnownOf(const StepJob& job) {
  return static_cast<const Known&>(*job.conditioning);
}

DitDenoiser::DitDenoiser(std::unique_ptr<DitTransformer> transformer, ClassNames classes, Ops& ops)
    : transformer_(std::move(transformer)),
      classes_(std::move(classes)),
      ops_(ops),
      workspace_(ops) {}

absl::Status DitDenoiser::Load(DType compute, Stream& stream) {
  if (absl::Status status = transformer_->Load(compute, ops_, stream); !status.ok()) return status;
  const DitConfig& config = transformer_->config();
  std::vector<float> labels(static_cast<size_t>(config.layers * config.dim()));
  transformer_->GatherLabel(config.null_class(), absl::MakeSpan(labels));
  null_labels_ = std::make_shared<const std::vector<float>>(std::move(labels));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Conditioning>> DitDenoiser::Encode(
    const ConditioningRequest& request, Stream& stream) {
  if (!request.negative_prompt.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "NEGATIVE_PROMPT_UNSUPPORTED",
                 "this model takes the name of a class and no negative prompt")
        .Field("negative_prompt", "must be empty for this model");
  }
  absl::StatusOr<int> class_id = classes_.Find(request.prompt);
  if (!class_id.ok()) return class_id.status();
  auto known = std::make_unique<Known>();
  known->labels.resize(null_labels_->size());
  transformer_->GatherLabel(*class_id, absl::MakeSpan(known->labels));
  known->null_labels = null_labels_;
  // Pictures are square: rows and columns have the same positions.
  known->positions = Positions(request.latent_height);
  return known;
}

std::shared_ptr<const std::vector<float>> DitDenoiser::Positions(int latent_size) {
  std::weak_ptr<const std::vector<float>>& cached = positions_[latent_size];
  std::shared_ptr<const std::vector<float>> positions = cached.lock();
  if (positions == nullptr) {
    const DitConfig& config = transformer_->config();
    positions = std::make_shared<const std::vector<float>>(
        DitAxisPositions(config, latent_size / config.patch));
    cached = positions;
    std::erase_if(positions_, [](const auto& entry) { return entry.second.expired(); });
  }
  return positions;
}

struct DitDenoiser::Tables {
  Tables(char* base, int64_t capacity, int32_t sequences_max) {
    Layout layout(base);
    const auto take = [&layout](auto*& table, int64_t count) {
      using Entry = std::remove_reference_t<decltype(*table)>;
      const size_t offset = layout.Take(static_cast<size_t>(count) * sizeof(Entry));
      table = static_cast<Entry*>(layout.At(offset));
    };
    take(live_rows, 1);
    take(live_sequences, 1);
    take(boundaries, sequences_max + 1);
    take(row_to_sequence, capacity);
    take(sequence_boundaries, sequences_max + 1);
    take(sequence_to_itself, sequences_max);
    take(timesteps, sequences_max);
    take(views, sequences_max);
    take(updates, sequences_max);
    bytes = layout.size();
  }

  int32_t* live_rows = nullptr;
  int32_t* live_sequences = nullptr;
  int32_t* boundaries = nullptr;
  int32_t* row_to_sequence = nullptr;
  // The batch in which each sequence is one row.
  int32_t* sequence_boundaries = nullptr;
  int32_t* sequence_to_itself = nullptr;
  float* timesteps = nullptr;
  LatentView* views = nullptr;
  SamplerUpdate* updates = nullptr;
  size_t bytes = 0;
};

struct DitDenoiser::Memory {
  size_t tables = 0;
  Tensor labels;
  Tensor positions;
  Tensor model_output;
  size_t scratch = 0;
  size_t bytes = 0;
};

DitDenoiser::Memory DitDenoiser::MakeMemory(char* base, int64_t capacity,
                                            int32_t sequences_max) const {
  const DitConfig& config = transformer_->config();
  Layout layout(base);
  Memory memory;
  memory.tables = layout.Take(Tables(nullptr, capacity, sequences_max).bytes);
  const size_t labels =
      layout.Take(Layout::FloatBytes(config.layers * sequences_max * config.dim()));
  memory.labels =
      Tensor(layout.At(labels), DType::kF32, {config.layers, sequences_max, config.dim()});
  memory.positions = layout.TakeMatrix(capacity, config.dim());
  memory.model_output = layout.TakeMatrix(capacity, config.output_features());
  memory.scratch = layout.Take(transformer_->ScratchBytes(capacity, sequences_max));
  memory.bytes = layout.size();
  return memory;
}

size_t DitDenoiser::WorkspaceBytes(int64_t rows, int64_t sequences) const {
  return MakeMemory(
             nullptr, RoundUp(rows, model_limits::kCapacityRows),
             static_cast<int32_t>(RoundUp<int64_t>(sequences, model_limits::kCapacitySequences)))
      .bytes;
}

void DitDenoiser::FillTables(absl::Span<const StepJob> jobs, const Tables& host) const {
  int32_t row = 0;
  int32_t sequence = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const StepJob& job = jobs[i];
    const auto tokens = static_cast<int32_t>(TokensOf(job.latents));
    host.updates[i] = MakeUpdate(job, row, job.guided() ? row + tokens : -1);
    for (int branch = 0; branch < SequencesOf(job); ++branch, ++sequence) {
      host.boundaries[sequence] = row;
      host.timesteps[sequence] = job.evaluation.timestep;
      host.views[sequence] = job.latents;
      std::fill_n(host.row_to_sequence + row, tokens, sequence);
      row += tokens;
    }
  }
  host.boundaries[sequence] = row;
  *host.live_rows = row;
  *host.live_sequences = sequence;
  for (int32_t i = 0; i < sequence; ++i) {
    host.sequence_boundaries[i] = i;
    host.sequence_to_itself[i] = i;
  }
  host.sequence_boundaries[sequence] = sequence;
}

// The position embedding of every token of one sequence, [tokens, dim].
void DitDenoiser::FillPositions(const LatentView& latents, const std::vector<float>& positions,
                                float* out) const {
  const DitConfig& config = transformer_->config();
  const int64_t half = config.dim() / 2;
  for (int row = 0; row < latents.height / config.patch; ++row) {
    for (int column = 0; column < latents.width / config.patch; ++column) {
      out = std::copy_n(positions.begin() + column * half, half, out);
      out = std::copy_n(positions.begin() + row * half, half, out);
    }
  }
}

// Labels and positions of every sequence. They stay the same over the steps of a batch.
absl::Status DitDenoiser::CopyRows(absl::Span<const StepJob> jobs, const Memory& memory,
                                   Stream& stream) {
  key_.clear();
  for (const StepJob& job : jobs) {
    key_.push_back(2 * job.identity + (job.guided() ? 1 : 0));
  }
  if (key_ == resident_ && workspace_.growths() == resident_growths_) return absl::OkStatus();
  resident_.clear();

  const DitConfig& config = transformer_->config();
  const int64_t dim = config.dim();
  const int64_t sequences_max = memory.labels.dim(1);
  labels_staging_.resize(static_cast<size_t>(memory.labels.size()));
  positions_staging_.resize(static_cast<size_t>(memory.positions.size()));
  int64_t sequence = 0;
  int64_t row = 0;
  for (const StepJob& job : jobs) {
    const int64_t tokens = TokensOf(job.latents);
    const Known& known = KnownOf(job);
    for (int branch = 0; branch < SequencesOf(job); ++branch) {
      const float* labels = branch == 0 ? known.labels.data() : known.null_labels->data();
      for (int64_t layer = 0; layer < config.layers; ++layer) {
        std::copy_n(labels + layer * dim, dim,
                    labels_staging_.begin() + (layer * sequences_max + sequence) * dim);
      }
      FillPositions(job.latents, *known.positions, positions_staging_.data() + row * dim);
      ++sequence;
      row += tokens;
    }
  }
  absl::Status status =
      ops_.CopyToDevice(memory.labels.data, labels_staging_.data(), memory.labels.bytes(), stream);
  if (status.ok()) {
    status = ops_.CopyToDevice(memory.positions.data, positions_staging_.data(),
                               memory.positions.bytes(), stream);
  }
  if (!status.ok()) return status;
  resident_.swap(key_);
  resident_growths_ = workspace_.growths();
  return absl::OkStatus();
}

absl::Status DitDenoiser::RunBlocks(absl::Span<const StepJob> jobs, BlockRange blocks,
                                    Stream& stream) {
  if (jobs.empty()) return absl::OkStatus();
  int64_t rows = 0;
  int32_t sequences = 0;
  parked_.clear();
  for (const StepJob& job : jobs) {
    parked_.push_back({.rows = job.parked, .first = rows, .count = RowsOf(job)});
    rows += RowsOf(job);
    sequences += SequencesOf(job);
  }
  const int64_t capacity = RoundUp(rows, model_limits::kCapacityRows);
  const int32_t sequences_max = RoundUp(sequences, model_limits::kCapacitySequences);
  absl::StatusOr<char*> base =
      workspace_.Reserve(MakeMemory(nullptr, capacity, sequences_max).bytes);
  if (!base.ok()) return base.status();
  const Memory memory = MakeMemory(*base, capacity, sequences_max);
  const Tables device(*base + memory.tables, capacity, sequences_max);

  // Zeros where nothing is written, so that padding names sequence 0 and no wild memory.
  tables_staging_.assign(device.bytes, 0);
  FillTables(jobs, Tables(tables_staging_.data(), capacity, sequences_max));
  absl::Status status =
      ops_.CopyToDevice(*base + memory.tables, tables_staging_.data(), device.bytes, stream);
  if (status.ok()) status = CopyRows(jobs, memory, stream);
  if (!status.ok()) return status;

  DitForward forward;
  forward.blocks = blocks;
  forward.parked = parked_;
  forward.batch = {.capacity = capacity,
                   .sequences_max = sequences_max,
                   .live_rows = device.live_rows,
                   .live_sequences = device.live_sequences,
                   .boundaries = device.boundaries,
                   .row_to_sequence = device.row_to_sequence};
  forward.per_sequence = {.capacity = sequences_max,
                          .sequences_max = sequences_max,
                          .live_rows = device.live_sequences,
                          .live_sequences = device.live_sequences,
                          .boundaries = device.sequence_boundaries,
                          .row_to_sequence = device.sequence_to_itself};
  forward.timesteps = device.timesteps;
  forward.views = device.views;
  forward.positions = memory.positions;
  forward.labels = memory.labels;
  forward.out = memory.model_output;
  forward.scratch = *base + memory.scratch;
  status = transformer_->Forward(forward, stream);
  if (!status.ok()) return status;
  if (blocks.last < layers()) return stream.Synchronize();
  status = ops_.SamplerStep({.updates = device.updates,
                             .jobs = static_cast<int32_t>(jobs.size()),
                             .patch = transformer_->config().patch,
                             .channels_last = true,
                             .model_channels = transformer_->config().out_channels,
                             .model_output = memory.model_output},
                            stream);
  if (!status.ok()) return status;
  return stream.Synchronize();
}

}  // namespace darkroom
