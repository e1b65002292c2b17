#include "model/text_encoders/text_encoder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "model/limits.h"

namespace darkroom {
namespace {

template <typename Integer>
Integer RoundUp(Integer value, Integer multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t RowsOf(absl::Span<const std::vector<int32_t>> prompts) {
  int64_t rows = 0;
  for (const std::vector<int32_t>& ids : prompts) rows += static_cast<int64_t>(ids.size());
  return rows;
}

}  // namespace

struct TextEncoder::Tables {
  Tables(char* base, int64_t capacity, int32_t sequences_max) {
    Layout layout(base);
    const auto take = [&layout](int64_t count) {
      return static_cast<int32_t*>(
          layout.At(layout.Take(static_cast<size_t>(count) * sizeof(int32_t))));
    };
    live_rows = take(1);
    live_sequences = take(1);
    boundaries = take(int64_t{sequences_max} + 1);
    row_to_sequence = take(capacity);
    bytes = layout.size();
  }

  int32_t* live_rows;
  int32_t* live_sequences;
  int32_t* boundaries;
  int32_t* row_to_sequence;
  size_t bytes;
};

struct TextEncoder::Memory {
  int64_t capacity = 0;
  int32_t sequences_max = 0;
  char* tables = nullptr;
  Tensor hidden;
  Tensor out;
  void* scratch = nullptr;
  size_t bytes = 0;
};

TextEncoder::Memory TextEncoder::MakeMemory(char* base, int64_t capacity,
                                            int32_t sequences_max) const {
  Layout layout(base);
  Memory memory;
  memory.capacity = capacity;
  memory.sequences_max = sequences_max;
  memory.tables =
      static_cast<char*>(layout.At(layout.Take(Tables(nullptr, capacity, sequences_max).bytes)));
  memory.hidden = layout.TakeMatrix(capacity, width());
  memory.out = layout.TakeMatrix(capacity, width());
  memory.scratch = layout.At(layout.Take(ScratchBytes(capacity)));
  memory.bytes = layout.size();
  return memory;
}

absl::Status TextEncoder::CheckIds(absl::Span<const std::vector<int32_t>> prompts) const {
  for (const std::vector<int32_t>& ids : prompts) {
    const auto wrong = std::find_if(
        ids.begin(), ids.end(), [this](int32_t id) { return id < 0 || id >= vocabulary_size(); });
    if (wrong != ids.end()) {
      return Error(absl::StatusCode::kInvalidArgument, "TOKENS_OUT_OF_RANGE",
                   absl::StrCat("token id ", *wrong, " must be 0 to ", vocabulary_size() - 1));
    }
    if (ids.empty() || ids.size() > static_cast<size_t>(tokens_max())) {
      return Error(absl::StatusCode::kInvalidArgument, "TOKENS_OUT_OF_RANGE",
                   absl::StrCat("the prompt has ", ids.size(), " tokens; must be 1 to ",
                                tokens_max(), "; nearest: ", ids.empty() ? 1 : tokens_max()));
    }
  }
  return absl::OkStatus();
}

absl::Status TextEncoder::CopyTables(absl::Span<const std::vector<int32_t>> prompts,
                                     const Memory& memory, Forward& forward, Stream& stream) {
  const Tables device(memory.tables, memory.capacity, memory.sequences_max);
  // Zeros where nothing is written, so that padding names sequence 0 and no wild memory.
  tables_staging_.assign(device.bytes, 0);
  const Tables host(tables_staging_.data(), memory.capacity, memory.sequences_max);
  int32_t row = 0;
  for (size_t sequence = 0; sequence < prompts.size(); ++sequence) {
    const auto tokens = static_cast<int32_t>(prompts[sequence].size());
    host.boundaries[sequence] = row;
    std::fill_n(host.row_to_sequence + row, tokens, static_cast<int32_t>(sequence));
    row += tokens;
  }
  host.boundaries[prompts.size()] = row;
  *host.live_rows = row;
  *host.live_sequences = static_cast<int32_t>(prompts.size());
  forward.batch = {.capacity = memory.capacity,
                   .sequences_max = memory.sequences_max,
                   .live_rows = device.live_rows,
                   .live_sequences = device.live_sequences,
                   .boundaries = device.boundaries,
                   .row_to_sequence = device.row_to_sequence};
  return ops().CopyToDevice(memory.tables, tables_staging_.data(), device.bytes, stream);
}

absl::Status TextEncoder::CopyEmbeddings(absl::Span<const std::vector<int32_t>> prompts,
                                         const Tensor& hidden, Stream& stream) {
  rows_staging_.assign(static_cast<size_t>(hidden.size()), 0.0f);
  float* row = rows_staging_.data();
  for (const std::vector<int32_t>& ids : prompts) {
    for (size_t position = 0; position < ids.size(); ++position, row += width()) {
      GatherRow(ids[position], static_cast<int64_t>(position), row);
    }
  }
  return ops().CopyToDevice(hidden.data, rows_staging_.data(), hidden.bytes(), stream);
}

absl::Status TextEncoder::EncodeBatch(absl::Span<const std::vector<int32_t>> prompts,
                                      Stream& stream, std::vector<TextEmbedding>& out) {
  const int64_t capacity = RoundUp(RowsOf(prompts), model_limits::kCapacityRows);
  const auto sequences_max =
      RoundUp(static_cast<int32_t>(prompts.size()), model_limits::kCapacitySequences);
  if (workspace_ == nullptr) workspace_ = std::make_unique<Workspace>(ops());
  absl::StatusOr<char*> base =
      workspace_->Reserve(MakeMemory(nullptr, capacity, sequences_max).bytes);
  if (!base.ok()) return base.status();
  const Memory memory = MakeMemory(*base, capacity, sequences_max);
  Forward forward;
  forward.hidden = memory.hidden;
  forward.out = memory.out;
  forward.scratch = memory.scratch;
  absl::Status status = CopyTables(prompts, memory, forward, stream);
  if (status.ok()) status = CopyEmbeddings(prompts, memory.hidden, stream);
  if (status.ok()) status = Run(forward, stream);
  if (status.ok()) {
    status = ops().CopyToHost(rows_staging_.data(), memory.out.data, memory.out.bytes(), stream);
  }
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;

  auto row = rows_staging_.begin();
  for (const std::vector<int32_t>& ids : prompts) {
    const auto end = row + static_cast<int64_t>(ids.size()) * width();
    TextEmbedding& embedding = out.emplace_back();
    embedding.hidden.assign(row, end);
    if (const int64_t token = PooledToken(ids); token >= 0) {
      const auto pooled = row + token * width();
      embedding.pooled.assign(pooled, pooled + width());
    }
    row = end;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TextEmbedding>> TextEncoder::Encode(
    absl::Span<const std::vector<int32_t>> prompts, Stream& stream) {
  if (absl::Status status = CheckIds(prompts); !status.ok()) return status;
  std::vector<TextEmbedding> out;
  out.reserve(prompts.size());
  while (!prompts.empty()) {
    size_t count = 1;
    while (count < prompts.size() &&
           RowsOf(prompts.first(count + 1)) <= model_limits::kTextRowsMax) {
      ++count;
    }
    absl::Status status = EncodeBatch(prompts.first(count), stream, out);
    if (!status.ok()) return status;
    prompts.remove_prefix(count);
  }
  return out;
}

void AddTableRow(const Tensor& table, int64_t row, float* out) {
  const int64_t width = table.dim(1);
  auto* begin = table.as<char>() + static_cast<size_t>(row * width) * ByteSize(table.dtype);
  const std::vector<float> values = ToFloat(Tensor(begin, table.dtype, {1, width}));
  std::transform(values.begin(), values.end(), out, out, [](float a, float b) { return b + a; });
}

}  // namespace darkroom
