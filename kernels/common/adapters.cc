#include "kernels/common/adapters.h"

#include <algorithm>

#include "kernels/common/alignment.h"
#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

AdapterPlan PlanAdapter(std::span<const AdapterPartShape> parts) {
  AdapterPlan plan;
  int64_t columns = 0;
  for (const AdapterPartShape& part : parts) {
    plan.first_rank.push_back(plan.rank);
    const int32_t rank = (part.rank + kRankChunk - 1) / kRankChunk * kRankChunk;
    const int64_t end = columns + part.columns;
    for (int64_t column = columns; column < end; column += kUpColumns - column % kUpColumns) {
      // The last block of the part before may be the first of this one.
      const auto index = static_cast<size_t>(column / kUpColumns);
      if (index == plan.blocks.size()) plan.blocks.emplace_back();
      UpBlock& block = plan.blocks[index];
      if (rank == 0) continue;
      if (block.chunks == 0) block.begin = static_cast<int16_t>(plan.rank / kRankChunk);
      block.chunks = static_cast<int16_t>((plan.rank + rank) / kRankChunk - block.begin);
    }
    columns = end;
    plan.rank += rank;
  }
  int32_t first = 0;
  for (UpBlock& block : plan.blocks) {
    block.first = first;
    first += block.chunks;
  }
  plan.up_elements = int64_t{first} * kUpChunkElements;
  return plan;
}

Result ValidateAdapters(const Adapters& adapters) {
  Result result = FirstError(
      CheckPresent("range_count", adapters.range_count),
      CheckPresent("matrices", adapters.matrices), CheckPresent("hidden", adapters.hidden),
      CheckAligned("hidden", adapters.hidden, sizeof(Bytes16)),
      CheckRange("levels", adapters.levels, 1, kAdapterLevelsMax),
      CheckRange("matrix_count", adapters.matrix_count, 1, INT32_MAX),
      CheckRange("rank_max", adapters.rank_max, kRankChunk, kAdapterFusedRankMax));
  if (!result.ok()) return result;
  if (!IsRowDType(adapters.dtype)) return Result::Invalid("adapters must be f32 or bf16");
  if (adapters.rank_max % kRankChunk == 0) return {};
  return Result::Invalid("rank_max is " + std::to_string(adapters.rank_max) +
                         "; it must be a multiple of " + std::to_string(kRankChunk));
}

}  // namespace darkroom::kernels
