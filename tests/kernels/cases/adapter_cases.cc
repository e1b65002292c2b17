#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cases/support.h"
#include "kernels/common/adapters.h"
#include "kernels/ops/adapter_down/adapter_down.h"
#include "kernels/ops/linear/linear.h"

namespace darkroom::kernels::cases {
namespace {

constexpr DType kF32 = DType::kF32;
constexpr DType kBf16 = DType::kBf16;

constexpr int32_t kPadding = 3;  // rows behind the live ones

// A weight of parts, an adapter's ranks in each of them, per adapter.
struct Problem {
  std::string name;
  int32_t rows;
  int64_t in;
  std::vector<int64_t> columns;             // of each part
  std::vector<std::vector<int32_t>> ranks;  // [adapter][part]
  std::vector<AdapterRange> ranges;
  LinearConfig config;
  DType dtype = DType::kBf16;
  int32_t levels = 1;

  int64_t out() const {
    int64_t sum = 0;
    for (const int64_t part : columns) sum += part;
    return sum;
  }
};

// One adapter, as it came and as it lies on the device.
struct Adapter {
  Adapter(const Problem& p, const std::vector<int32_t>& ranks, uint32_t seed, bool broken)
      : plan(PlanOf(p, ranks)) {
    const auto in = static_cast<size_t>(p.in);
    std::vector<float> packed_down(static_cast<size_t>(plan.rank) * in, 0.0f);
    std::vector<float> packed_up(static_cast<size_t>(plan.up_elements), 0.0f);
    int64_t first_column = 0;
    for (size_t part = 0; part < ranks.size(); ++part) {
      const auto rank = static_cast<size_t>(ranks[part]);
      const auto columns = static_cast<size_t>(p.columns[part]);
      down.push_back(Random(rank * in, seed++, p.dtype, 1.0f / std::sqrt(static_cast<float>(in))));
      up.push_back(Random(columns * rank, seed++, p.dtype));
      if (broken) {
        std::fill(up.back().begin(), up.back().end(), std::numeric_limits<float>::quiet_NaN());
      }
      std::copy(down.back().begin(), down.back().end(),
                packed_down.begin() + plan.first_rank[part] * p.in);
      for (size_t i = 0; i < columns * rank; ++i) {
        const auto column = first_column + static_cast<int64_t>(i / rank);
        const auto r = plan.first_rank[part] + static_cast<int32_t>(i % rank);
        const UpBlock& block = plan.blocks[static_cast<size_t>(column / kUpColumns)];
        packed_up[static_cast<size_t>(UpIndex(block, column, r))] = up.back()[i];
      }
      first_column += p.columns[part];
    }
    tables.emplace_back(p.dtype, packed_down);
    tables.emplace_back(p.dtype, packed_up);
    blocks.emplace_back(plan.blocks);
  }
  LowRank device() const {
    return {tables[0].data(), tables[1].data(), blocks[0].data(), plan.rank, 0};
  }

  static AdapterPlan PlanOf(const Problem& p, const std::vector<int32_t>& ranks) {
    std::vector<AdapterPartShape> parts;
    for (size_t i = 0; i < ranks.size(); ++i) parts.push_back({p.columns[i], ranks[i]});
    return PlanAdapter(parts);
  }

  AdapterPlan plan;
  std::vector<std::vector<float>> down, up;  // of each part
  std::vector<DeviceFloats> tables;
  std::vector<DeviceTable<UpBlock>> blocks;
};

// A product with its adapters. `broken`: an adapter whose numbers are none, or -1.
class Product {
 public:
  explicit Product(const Problem& p, int broken = -1)
      : p_(p),
        x_(Random(static_cast<size_t>((p.rows + kPadding) * p.in), 21, p.dtype)),
        weight_(Random(static_cast<size_t>(p.out() * p.in), 22, p.dtype,
                       1.0f / std::sqrt(static_cast<float>(p.in)))),
        device_x_(p.dtype, x_),
        device_weight_(p.dtype, weight_) {
    std::vector<LowRank> matrices;
    for (size_t i = 0; i < p.ranks.size(); ++i) {
      adapters_.emplace_back(p, p.ranks[i], 100 * static_cast<uint32_t>(i + 1),
                             static_cast<int>(i) == broken);
      matrices.push_back(adapters_.back().device());
      rank_max_ = std::max(rank_max_, adapters_.back().plan.rank);
    }
    matrices_.emplace_back(matrices);
  }

  // Of `count` rows from `first` on with these ranges; null: without adapters.
  std::vector<float> Run(Check& check, int32_t first, int32_t count,
                         const std::vector<AdapterRange>* ranges) const {
    const Batch batch({{0, count}}, 0, kPadding);
    const int64_t out_features = p_.out();
    const DeviceFloats out(p_.dtype, static_cast<size_t>(batch.capacity() * out_features));
    const int32_t levels = p_.levels;
    const DeviceFloats hidden(
        p_.dtype, static_cast<size_t>(HiddenElements(batch.capacity(), levels, rank_max_)));
    const DeviceTable<AdapterRange> table(
        ranges != nullptr && !ranges->empty() ? *ranges : std::vector<AdapterRange>(1));
    const DeviceTable<int32_t> range_count(
        {ranges != nullptr ? static_cast<int32_t>(ranges->size()) : 0});
    LinearArgs args;
    args.batch = batch.device();
    args.in_features = p_.in;
    args.out_features = args.out_stride = out_features;
    args.x =
        static_cast<const uint8_t*>(device_x_.data()) + first * p_.in * (p_.dtype == kBf16 ? 2 : 4);
    args.weight = device_weight_.data();
    args.out = out.data();
    args.x_dtype = args.weight_dtype = args.out_dtype = p_.dtype;
    if (ranges != nullptr) {
      args.adapters = {.ranges = table.data(),
                       .range_count = range_count.data(),
                       .levels = levels,
                       .matrices = matrices_[0].data(),
                       .matrix_count = static_cast<int32_t>(adapters_.size()),
                       .rank_max = rank_max_,
                       .dtype = p_.dtype,
                       .hidden = hidden.data()};
      check.Ok(AdapterDown({.batch = args.batch,
                            .in_features = p_.in,
                            .x = args.x,
                            .x_dtype = p_.dtype,
                            .adapters = args.adapters},
                           nullptr));
    }
    const Result valid = ValidateLinear(args);
    check.Ok(valid.ok() ? LinearWith(args, p_.config, nullptr) : valid);
    std::vector<float> all = out.Read();
    for (int64_t i = int64_t{count} * out_features; i < std::ssize(all); ++i) {
      check.That(std::isnan(all[static_cast<size_t>(i)]), "wrote outside of the live rows");
    }
    all.resize(static_cast<size_t>(count * out_features));
    return all;
  }

  std::vector<double> Expected() const {
    std::vector<double> want;
    for (int32_t row = 0; row < p_.rows; ++row) {
      const float* x = &x_[static_cast<size_t>(row * p_.in)];
      const auto dot = [&](const float* with) {
        double sum = 0.0;
        for (int64_t k = 0; k < p_.in; ++k) sum += static_cast<double>(x[k]) * with[k];
        return sum;
      };
      for (int64_t column = 0; column < p_.out(); ++column) {
        want.push_back(dot(&weight_[static_cast<size_t>(column * p_.in)]));
      }
      double* out = &want[static_cast<size_t>(row * p_.out())];
      for (const AdapterRange& range : p_.ranges) {
        if (row < range.row_begin || row >= range.row_end || !Exists(range)) continue;
        const Adapter& adapter = adapters_[static_cast<size_t>(range.adapter)];
        int64_t first = 0;
        for (size_t part = 0; part < p_.columns.size(); ++part) {
          const int32_t rank = p_.ranks[static_cast<size_t>(range.adapter)][part];
          for (int32_t r = 0; r < rank; ++r) {
            const double low =
                range.weight * dot(&adapter.down[part][static_cast<size_t>(r * p_.in)]);
            for (int64_t column = 0; column < p_.columns[part]; ++column) {
              out[first + column] += low * adapter.up[part][static_cast<size_t>(column * rank + r)];
            }
          }
          first += p_.columns[part];
        }
      }
    }
    return want;
  }

  bool Exists(const AdapterRange& range) const {
    return range.adapter >= 0 && range.adapter < std::ssize(adapters_) && range.level >= 0 &&
           range.level < p_.levels;
  }

 private:
  const Problem& p_;
  std::vector<float> x_, weight_;
  DeviceFloats device_x_, device_weight_;
  std::vector<Adapter> adapters_;
  std::vector<DeviceTable<LowRank>> matrices_;
  int32_t rank_max_ = 0;
};

std::vector<float> RowOf(const std::vector<float>& all, int32_t row, int64_t out) {
  return {all.begin() + row * out, all.begin() + (row + 1) * out};
}

void Run(const Problem& p, Check& check) {
  const Product product(p);
  const auto got = product.Run(check, 0, p.rows, &p.ranges);
  check.Near("out", got, product.Expected(), p.dtype == kBf16 ? 8e-3 : 4e-6);
  const auto plain = product.Run(check, 0, p.rows, nullptr);
  const std::vector<AdapterRange> none;
  check.Same("no ranges", product.Run(check, 0, p.rows, &none), plain);

  // Rows alone have the bits that they have in company; those without adapters, the plain ones.
  const auto adapters_of = [&](int32_t row) {
    std::vector<AdapterRange> alone;
    for (const AdapterRange& range : p.ranges) {
      if (row < range.row_begin || row >= range.row_end || !product.Exists(range)) continue;
      alone.push_back({0, 1, range.adapter, range.level, range.weight});
    }
    return alone;
  };
  std::vector<int32_t> rows = {0, p.rows - 1};
  for (const AdapterRange& range : p.ranges) rows.push_back(std::min(range.row_begin, p.rows - 1));
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  for (int32_t row = 0; row < p.rows; ++row) {
    const std::vector<AdapterRange> ranges = adapters_of(row);
    const std::string name = "row " + std::to_string(row);
    if (ranges.empty()) {
      check.Same(name + " without", RowOf(got, row, p.out()), RowOf(plain, row, p.out()));
    }
    if (rows.size() > 8 && row % 17 != 0) continue;
    if (!std::binary_search(rows.begin(), rows.end(), row)) continue;
    check.Same(name + " alone", product.Run(check, row, 1, &ranges), RowOf(got, row, p.out()));
  }

  // An adapter that is not numbers spoils nobody else's rows.
  const int broken = p.ranges.front().adapter;
  const Product spoilt(p, broken);
  const auto beside = spoilt.Run(check, 0, p.rows, &p.ranges);
  for (int32_t row = 0; row < p.rows; ++row) {
    const auto of = adapters_of(row);
    const bool has = std::any_of(
        of.begin(), of.end(), [&](const AdapterRange& range) { return range.adapter == broken; });
    const auto values = RowOf(beside, row, p.out());
    if (!has) check.Same("row beside NaN", values, RowOf(got, row, p.out()));
    if (has) check.That(std::isnan(values[0]), "an adapter was not applied");
  }
}

// Ranges of `length` rows with adapters in turn.
std::vector<AdapterRange> ManyRanges(int32_t count, int32_t length, int32_t adapters) {
  std::vector<AdapterRange> ranges;
  for (int32_t i = 0; i < count; ++i) {
    ranges.push_back({i * length, (i + 1) * length, i % adapters, 0, 0.5f + 0.25f * (i % 3)});
  }
  return ranges;
}

std::vector<Problem> Problems(Extent extent) {
  const LinearConfig simt{LinearKernel::kSimt, 0, 0};
  const LinearConfig wide{LinearKernel::kSm80, 128, 128};
  const LinearConfig half{LinearKernel::kSm80, 64, 128};
  const LinearConfig small{LinearKernel::kSm80, 64, 64};
  const LinearConfig wide90{LinearKernel::kSm90, 128, 256, 1};
  const LinearConfig narrow90{LinearKernel::kSm90, 128, 128, 2};
  // Three parts whose borders are no multiples of eight, one of which the second adapter has not;
  // ranges that share tiles, two adapters on some rows, and three that cannot be.
  const std::vector<int64_t> parts = {36, 20, 74};
  const std::vector<std::vector<int32_t>> ranks = {{4, 40, 33}, {16, 0, 8}, {1, 1, 1}};
  const std::vector<AdapterRange> mixed = {
      {0, 3, 0, 0, 0.5f},    {3, 21, 1, 0, 1.0f},  {3, 21, 0, 1, -0.75f}, {25, 70, 7, 0, 1.0f},
      {25, 70, -1, 0, 1.0f}, {25, 70, 1, 4, 1.0f}, {70, 81, 2, 0, 2.0f}};
  std::vector<Problem> problems;
  const auto add = [&](const char* name, const LinearConfig& config, int64_t in, DType dtype) {
    problems.push_back({name, 81, in, parts, ranks, mixed, config, dtype, 2});
  };
  add("sm80 128x128 mixed", wide, 200, kBf16);
  add("sm80 64x64 mixed", small, 72, kBf16);
  add("simt bf16 mixed", simt, 37, kBf16);
  add("simt f32 mixed", simt, 50, kF32);
  problems.push_back({"sm80 64x128 many", 135, 64, {136}, {{8}, {64}}, ManyRanges(45, 3, 2), half});
  if (HasSm90()) {
    add("sm90 128x128 mixed", narrow90, 328, kBf16);
    problems.push_back(
        {"sm90 128x256 many", 150, 72, {261}, {{70}, {32}}, ManyRanges(50, 3, 2), wide90});
  }
  if (extent == Extent::kFull) {
    const std::vector<AdapterRange> two = {{0, 1500, 0, 0, 1.0f}, {1500, 1700, 1, 0, 0.7f}};
    problems.push_back({"chosen large",
                        1700,
                        3072,
                        {3072, 3072, 3072},
                        {{64, 64, 64}, {16, 256, 1}},
                        two,
                        HasSm90() ? LinearConfig{LinearKernel::kSm90, 128, 256, 132} : wide});
  }
  return problems;
}

}  // namespace

std::vector<Case> AdapterCases(Extent extent) {
  std::vector<Case> cases;
  for (const Problem& p : Problems(extent)) {
    cases.push_back({"adapters/" + p.name, [p](Check& check) { Run(p, check); }});
  }
  return cases;
}

}  // namespace darkroom::kernels::cases
