#include "model/denoisers/flux_denoiser.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

// diffusers multiplies the guidance scale as it does the timestep.
constexpr float kGuidanceUnit = 1000.0f;

template <typename Integer>
Integer RoundUp(Integer value, Integer multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int SequencesOf(const StepJob& job) { return job.guided() ? 2 : 1; }

int64_t ImageTokens(const LatentView& latents) {
  return int64_t{latents.height / FluxConfig::kPatch} * (latents.width / FluxConfig::kPatch);
}

void Zero(DeviceBuffer& buffer, Ops& ops, Stream& stream) {
  const std::vector<char> zeros(buffer.size());
  // If the device fails here, the next step finds it out, and the process ends with its memory.
  if (ops.CopyToDevice(buffer.data(), zeros.data(), zeros.size(), stream).ok()) {
    stream.Synchronize().IgnoreError();
  }
}

// An encoder knows of one prompt only: what it says of that is about the negative one here.
absl::Status OfNegativePrompt(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  if (reason != "PROMPT_TOO_LONG") return status;
  const std::string problem = absl::StrCat("negative_", std::string(status.message()));
  return Error(status.code(), reason, problem).Field("negative_prompt", problem);
}

}  // namespace

struct FluxDenoiser::Branch {
  int32_t tokens = 0;
  std::unique_ptr<DeviceBuffer> context;  // f32 [tokens, dim]
  std::unique_ptr<DeviceBuffer> vector;   // f32 [dim]
};

struct FluxDenoiser::Rotation {
  std::unique_ptr<DeviceBuffer> cosines;  // f32 [image tokens, head_dim / 2]
  std::unique_ptr<DeviceBuffer> sines;
};

struct FluxDenoiser::Known : Conditioning {
  void Wipe(Ops& ops, Stream& stream) override {
    for (const Branch& branch : branches) {
      if (branch.context != nullptr) Zero(*branch.context, ops, stream);
      if (branch.vector != nullptr) Zero(*branch.vector, ops, stream);
    }
  }

  Branch branches[2];  // conditional, unconditional
  std::shared_ptr<Rotation> rotation;
};

struct FluxDenoiser::Tables {
  Tables(char* base, const Shape& shape) {
    Layout layout(base);
    const auto take = [&layout](auto*& table, int64_t count) {
      using Entry = std::remove_reference_t<decltype(*table)>;
      const size_t offset = layout.Take(static_cast<size_t>(count) * sizeof(Entry));
      table = static_cast<Entry*>(layout.At(offset));
    };
    const int32_t sequences = shape.sequences;
    take(counts, kCounts);
    take(text_boundaries, sequences + 1);
    take(image_boundaries, sequences + 1);
    take(joint_boundaries, sequences + 1);
    take(row_to_sequence, shape.text + shape.image);
    take(sequence_boundaries, sequences + 1);
    take(sequence_to_itself, sequences);
    take(timesteps, sequences);
    take(guidances, sequences);
    take(views, sequences);
    take(contexts, sequences);
    take(vectors, sequences);
    take(cosines, sequences);
    take(sines, sequences);
    take(updates, sequences);
    bytes = layout.size();
  }

  enum Count { kTextRows, kImageRows, kJointRows, kSequences, kCounts };

  int32_t* counts = nullptr;
  int32_t* text_boundaries = nullptr;
  int32_t* image_boundaries = nullptr;
  // The image rows again, counted over both streams.
  int32_t* joint_boundaries = nullptr;
  int32_t* row_to_sequence = nullptr;  // of both streams, text first
  // The batch in which each sequence is one row.
  int32_t* sequence_boundaries = nullptr;
  int32_t* sequence_to_itself = nullptr;
  float* timesteps = nullptr;
  float* guidances = nullptr;
  LatentView* views = nullptr;
  const float** contexts = nullptr;
  const float** vectors = nullptr;
  const float** cosines = nullptr;
  const float** sines = nullptr;
  SamplerUpdate* updates = nullptr;
  size_t bytes = 0;
};

struct FluxDenoiser::Memory {
  size_t tables = 0;
  Tensor model_output;
  size_t scratch = 0;
  size_t bytes = 0;
};

const FluxDenoiser::Known& FluxDenoiser::KnownOf(const StepJob& job) {
  return static_cast<const Known&>(*job.conditioning);
}

FluxDenoiser::FluxDenoiser(std::unique_ptr<FluxTransformer> transformer,
                           std::unique_ptr<PromptEncoder> encoder, Ops& ops)
    : transformer_(std::move(transformer)),
      encoder_(std::move(encoder)),
      ops_(ops),
      workspace_(ops),
      prompt_workspace_(ops) {}

absl::Status FluxDenoiser::Load(DType compute, Stream& stream) {
  absl::Status status = encoder_->Load(compute, ops_, stream);
  if (status.ok()) status = transformer_->Load(compute, ops_, stream);
  return status;
}

absl::StatusOr<std::unique_ptr<Conditioning>> FluxDenoiser::Encode(
    const ConditioningRequest& request, Stream& stream) {
  const int tokens_max = encoder_->tokens_max();
  if (request.sequence_length_max < 0 || request.sequence_length_max > tokens_max) {
    const std::string problem = absl::StrCat(
        "is ", request.sequence_length_max, "; it must be 1 to ", tokens_max,
        ", or 0 for that; nearest: ", std::clamp(request.sequence_length_max, 1, tokens_max));
    return Error(absl::StatusCode::kInvalidArgument, "SEQUENCE_LENGTH_OUT_OF_RANGE",
                 absl::StrCat("sampling.max_sequence_length ", problem))
        .Field("sampling.max_sequence_length", problem);
  }
  auto known = std::make_unique<Known>();
  const std::string_view prompts[] = {request.prompt, request.negative_prompt};
  for (int i = 0; i < (request.guided ? 2 : 1); ++i) {
    absl::StatusOr<Branch> branch = EncodeBranch(request, prompts[i], stream);
    if (!branch.ok()) return i == 0 ? branch.status() : OfNegativePrompt(branch.status());
    known->branches[i] = *std::move(branch);
  }
  absl::StatusOr<std::shared_ptr<Rotation>> rotation =
      RotationOf(request.latent_height, request.latent_width, stream);
  if (!rotation.ok()) return rotation.status();
  known->rotation = *std::move(rotation);
  return known;
}

absl::StatusOr<FluxDenoiser::Branch> FluxDenoiser::EncodeBranch(const ConditioningRequest& request,
                                                                std::string_view prompt,
                                                                Stream& stream) {
  const int length =
      request.sequence_length_max > 0 ? request.sequence_length_max : encoder_->tokens_max();
  absl::StatusOr<std::shared_ptr<const PromptEmbedding>> embedding =
      encoder_->Encode(request.tenant_tag, prompt, length, stream);
  if (!embedding.ok()) return embedding.status();
  const PromptEmbedding& prompt_embedding = **embedding;
  const int64_t tokens = prompt_embedding.tokens;
  const int64_t dim = transformer_->config().dim();

  Branch branch;
  branch.tokens = static_cast<int32_t>(tokens);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> context =
      ops_.Allocate(Layout::FloatBytes(tokens * dim));
  if (!context.ok()) return context.status();
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> vector = ops_.Allocate(Layout::FloatBytes(dim));
  if (!vector.ok()) return vector.status();
  branch.context = *std::move(context);
  branch.vector = *std::move(vector);

  // Inputs, scratch and the tables of two batches: all text tokens, and the one prompt.
  const auto place = [&](char* base) {
    Layout layout(base);
    FluxTransformer::Prompt input;
    input.embeddings = layout.TakeMatrix(tokens, encoder_->hidden_width());
    input.pooled = layout.TakeMatrix(1, encoder_->pooled_width());
    input.hidden = layout.TakeMatrix(1, dim);
    const size_t tables = layout.Take(static_cast<size_t>(tokens + 4) * sizeof(int32_t));
    return std::tuple(input, tables, layout.size());
  };
  absl::StatusOr<char*> base = prompt_workspace_.Reserve(std::get<2>(place(nullptr)));
  if (!base.ok()) return base.status();
  auto [input, tables, bytes] = place(*base);
  // Live rows and boundaries {0, tokens} of the one, {0, 1} of the other; then rows to sequence 0.
  std::vector<int32_t> values(static_cast<size_t>(tokens) + 4, 0);
  values[1] = branch.tokens;
  values[3] = 1;
  absl::Status status =
      ops_.CopyToDevice(*base + tables, values.data(), values.size() * sizeof(int32_t), stream);
  if (status.ok()) {
    status = ops_.CopyToDevice(input.embeddings.data, prompt_embedding.hidden.data(),
                               input.embeddings.bytes(), stream);
  }
  if (status.ok()) {
    status = ops_.CopyToDevice(input.pooled.data, prompt_embedding.pooled.data(),
                               input.pooled.bytes(), stream);
  }
  if (!status.ok()) return status;
  const auto* device = reinterpret_cast<const int32_t*>(*base + tables);
  input.tokens = {.capacity = tokens,
                  .sequences_max = 1,
                  .live_rows = device + 1,
                  .live_sequences = device + 3,
                  .boundaries = device,
                  .row_to_sequence = device + 4};
  input.sequences = {.capacity = 1,
                     .sequences_max = 1,
                     .live_rows = device + 3,
                     .live_sequences = device + 3,
                     .boundaries = device + 2,
                     .row_to_sequence = device + 4};
  input.context = Tensor(branch.context->data(), DType::kF32, {tokens, dim});
  input.vector = Tensor(branch.vector->data(), DType::kF32, {1, dim});
  status = transformer_->EmbedPrompt(input, stream);
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;
  return branch;
}

absl::StatusOr<std::shared_ptr<FluxDenoiser::Rotation>> FluxDenoiser::RotationOf(int latent_height,
                                                                                 int latent_width,
                                                                                 Stream& stream) {
  std::weak_ptr<Rotation>& cached = rotations_[{latent_height, latent_width}];
  if (std::shared_ptr<Rotation> rotation = cached.lock(); rotation != nullptr) return rotation;
  const FluxConfig& config = transformer_->config();
  const int rows = latent_height / FluxConfig::kPatch;
  const int columns = latent_width / FluxConfig::kPatch;
  const int64_t angles = config.head_dim / 2;
  std::vector<float> cosines(static_cast<size_t>(rows * columns * angles));
  std::vector<float> sines(cosines.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t at = (row * columns + column) * angles;
      FluxRotation(config, static_cast<int>(row), static_cast<int>(column), cosines.data() + at,
                   sines.data() + at);
    }
  }
  auto rotation = std::make_shared<Rotation>();
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> buffer = Upload(ops_, cosines, stream);
  if (!buffer.ok()) return buffer.status();
  rotation->cosines = *std::move(buffer);
  if (buffer = Upload(ops_, sines, stream); !buffer.ok()) return buffer.status();
  rotation->sines = *std::move(buffer);
  cached = rotation;
  std::erase_if(rotations_, [](const auto& entry) { return entry.second.expired(); });
  return rotation;
}

int64_t FluxDenoiser::RowsOf(const StepJob& job) const {
  const Known& known = KnownOf(job);
  int64_t rows = 0;
  for (int i = 0; i < SequencesOf(job); ++i) {
    rows += known.branches[i].tokens + ImageTokens(job.latents);
  }
  return rows;
}

FluxDenoiser::Shape FluxDenoiser::ShapeOf(absl::Span<const StepJob> jobs) const {
  Shape shape;
  for (const StepJob& job : jobs) {
    const Known& known = KnownOf(job);
    for (int i = 0; i < SequencesOf(job); ++i) {
      shape.text += known.branches[i].tokens;
      shape.image += ImageTokens(job.latents);
      ++shape.sequences;
    }
  }
  shape.text = RoundUp(shape.text, model_limits::kCapacityTextRows);
  shape.image = RoundUp(shape.image, model_limits::kCapacityRows);
  shape.sequences = RoundUp(shape.sequences, model_limits::kCapacitySequences);
  return shape;
}

FluxDenoiser::Memory FluxDenoiser::MakeMemory(char* base, const Shape& shape) const {
  Layout layout(base);
  Memory memory;
  memory.tables = layout.Take(Tables(nullptr, shape).bytes);
  memory.model_output = layout.TakeMatrix(shape.image, transformer_->config().out_channels);
  memory.scratch =
      layout.Take(transformer_->ScratchBytes(shape.text + shape.image, shape.sequences));
  memory.bytes = layout.size();
  return memory;
}

// How many of the rows are text matters little: image rows only have the model output besides.
size_t FluxDenoiser::WorkspaceBytes(int64_t rows, int64_t sequences) const {
  const Shape shape{.text = model_limits::kCapacityTextRows,
                    .image = RoundUp(rows, model_limits::kCapacityRows),
                    .sequences = static_cast<int32_t>(
                        RoundUp<int64_t>(sequences, model_limits::kCapacitySequences))};
  return MakeMemory(nullptr, shape).bytes;
}

void FluxDenoiser::FillTables(absl::Span<const StepJob> jobs, const Shape& shape,
                              const Tables& host) const {
  int32_t text = 0;
  int32_t image = 0;
  int32_t sequence = 0;
  const auto offset = static_cast<int32_t>(shape.text);
  for (size_t i = 0; i < jobs.size(); ++i) {
    const StepJob& job = jobs[i];
    const Known& known = KnownOf(job);
    const auto tokens = static_cast<int32_t>(ImageTokens(job.latents));
    host.updates[i] = MakeUpdate(job, image, job.guided() ? image + tokens : -1);
    for (int b = 0; b < SequencesOf(job); ++b, ++sequence) {
      const Branch& branch = known.branches[b];
      host.text_boundaries[sequence] = text;
      host.image_boundaries[sequence] = image;
      host.joint_boundaries[sequence] = offset + image;
      host.timesteps[sequence] = job.evaluation.timestep;
      host.guidances[sequence] = job.distilled_guidance * kGuidanceUnit;
      host.views[sequence] = job.latents;
      host.contexts[sequence] = static_cast<const float*>(branch.context->data());
      host.vectors[sequence] = static_cast<const float*>(branch.vector->data());
      host.cosines[sequence] = static_cast<const float*>(known.rotation->cosines->data());
      host.sines[sequence] = static_cast<const float*>(known.rotation->sines->data());
      std::fill_n(host.row_to_sequence + text, branch.tokens, sequence);
      std::fill_n(host.row_to_sequence + offset + image, tokens, sequence);
      host.sequence_boundaries[sequence] = sequence;
      host.sequence_to_itself[sequence] = sequence;
      text += branch.tokens;
      image += tokens;
    }
  }
  host.text_boundaries[sequence] = text;
  host.image_boundaries[sequence] = image;
  host.joint_boundaries[sequence] = offset + image;
  host.sequence_boundaries[sequence] = sequence;
  host.counts[Tables::kTextRows] = text;
  host.counts[Tables::kImageRows] = image;
  // The gap between the streams counts: it is computed with them and never read.
  host.counts[Tables::kJointRows] = offset + image;
  host.counts[Tables::kSequences] = sequence;
}

void FluxDenoiser::FillParked(absl::Span<const StepJob> jobs, const Shape& shape) {
  parked_.clear();
  int64_t text = 0;
  int64_t image = shape.text;
  for (const StepJob& job : jobs) {
    const int64_t tokens = ImageTokens(job.latents);
    float* rows = job.parked;
    const auto add = [&](int64_t& first, int64_t count) {
      parked_.push_back({.rows = rows, .first = first, .count = count});
      if (rows != nullptr) rows += count * width();
      first += count;
    };
    for (int i = 0; i < SequencesOf(job); ++i) {
      add(text, KnownOf(job).branches[i].tokens);
      add(image, tokens);
    }
  }
}

absl::Status FluxDenoiser::RunBlocks(absl::Span<const StepJob> jobs, BlockRange blocks,
                                     Stream& stream) {
  if (jobs.empty()) return absl::OkStatus();
  const Shape shape = ShapeOf(jobs);
  absl::StatusOr<char*> base = workspace_.Reserve(MakeMemory(nullptr, shape).bytes);
  if (!base.ok()) return base.status();
  const Memory memory = MakeMemory(*base, shape);
  const Tables device(*base + memory.tables, shape);

  // Zeros where nothing is written, so that padding names sequence 0 and no wild memory.
  tables_staging_.assign(device.bytes, 0);
  FillTables(jobs, shape, Tables(tables_staging_.data(), shape));
  FillParked(jobs, shape);
  absl::Status status =
      ops_.CopyToDevice(*base + memory.tables, tables_staging_.data(), device.bytes, stream);
  if (!status.ok()) return status;

  const auto batch = [&](int64_t capacity, Tables::Count rows, const int32_t* boundaries,
                         const int32_t* row_to_sequence) {
    return PackedBatch{.capacity = capacity,
                       .sequences_max = shape.sequences,
                       .live_rows = device.counts + rows,
                       .live_sequences = device.counts + Tables::kSequences,
                       .boundaries = boundaries,
                       .row_to_sequence = row_to_sequence};
  };
  FluxForward forward;
  forward.blocks = blocks;
  forward.parked = parked_;
  forward.text =
      batch(shape.text, Tables::kTextRows, device.text_boundaries, device.row_to_sequence);
  forward.image = batch(shape.image, Tables::kImageRows, device.image_boundaries,
                        device.row_to_sequence + shape.text);
  forward.joint = batch(shape.text + shape.image, Tables::kJointRows, device.joint_boundaries,
                        device.row_to_sequence);
  forward.joint.prefix_boundaries = device.text_boundaries;
  forward.per_sequence = batch(shape.sequences, Tables::kSequences, device.sequence_boundaries,
                               device.sequence_to_itself);
  forward.timesteps = device.timesteps;
  forward.guidances = device.guidances;
  forward.views = device.views;
  forward.contexts = device.contexts;
  forward.vectors = device.vectors;
  forward.cosines = device.cosines;
  forward.sines = device.sines;
  forward.out = memory.model_output;
  forward.scratch = *base + memory.scratch;
  status = transformer_->Forward(forward, stream);
  if (!status.ok()) return status;
  if (blocks.last < layers()) return stream.Synchronize();
  status = ops_.SamplerStep({.updates = device.updates,
                             .jobs = static_cast<int32_t>(jobs.size()),
                             .patch = FluxConfig::kPatch,
                             .channels_last = false,
                             .model_channels = latent_channels(),
                             .model_output = memory.model_output},
                            stream);
  if (!status.ok()) return status;
  return stream.Synchronize();
}

}  // namespace darkroom
