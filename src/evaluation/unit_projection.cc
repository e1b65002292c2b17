#include "evaluation/unit_projection.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace darkroom {
namespace {

constexpr double kLengthMin = 1e-12;

// The tables of the one row: live rows, live sequences, boundaries 0 and 1, the row's sequence 0.
constexpr int32_t kTables[] = {1, 1, 0, 1, 0};

}  // namespace

UnitProjection::UnitProjection(Weights& weights, const std::string& name, int64_t out, int64_t in)
    : source_(TakeLinear(weights, name, out, in, /*bias=*/false)) {}

absl::Status UnitProjection::Load(Ops& ops, Stream& stream) {
  ops_ = &ops;
  absl::StatusOr<std::unique_ptr<LinearWeight>> packed =
      PackRows(absl::MakeConstSpan(&source_, 1), DType::kF32, ops);
  if (!packed.ok()) return packed.status();
  weight_ = *std::move(packed);

  const auto place = [this](Layout& layout) {
    const size_t tables = layout.Take(sizeof(kTables));
    x_ = layout.TakeMatrix(1, weight_->in_features());
    out_ = layout.TakeMatrix(1, weight_->out_features());
    return static_cast<int32_t*>(layout.At(tables));
  };
  Layout measure(nullptr);
  place(measure);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> memory = ops.Allocate(measure.size());
  if (!memory.ok()) return memory.status();
  memory_ = *std::move(memory);
  Layout layout(static_cast<char*>(memory_->data()));
  const int32_t* tables = place(layout);
  batch_ = {.capacity = 1,
            .sequences_max = 1,
            .live_rows = tables,
            .live_sequences = tables + 1,
            .boundaries = tables + 2,
            .row_to_sequence = tables + 4};
  return ops.CopyToDevice(memory_->data(), kTables, sizeof(kTables), stream);
}

absl::StatusOr<std::vector<float>> UnitProjection::Apply(absl::Span<const float> x,
                                                         Stream& stream) {
  absl::Status status = ops_->CopyToDevice(x_.data, x.data(), x_.bytes(), stream);
  if (status.ok()) {
    status = ops_->Linear({.x = x_, .weight = weight_.get(), .out = out_}, batch_, stream);
  }
  std::vector<float> out(static_cast<size_t>(out_.size()));
  if (status.ok()) status = ops_->CopyToHost(out.data(), out_.data, out_.bytes(), stream);
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;
  Normalize(absl::MakeSpan(out));
  return out;
}

void Normalize(absl::Span<float> vector) {
  double squares = 0;
  for (const float value : vector) squares += double{value} * value;
  const double length = std::max(std::sqrt(squares), kLengthMin);
  for (float& value : vector) value = static_cast<float>(value / length);
}

}  // namespace darkroom
