// Linear on Hopper's tensor cores by wgmma. A persistent block per multiprocessor goes over tiles
// of 128 rows; one warpgroup copies (a single thread: the bulk copy engine does the work), two
// multiply, 64 rows each. Tiles of x and of the weight, 64 deep, go through a ring of stages in
// shared memory: `full` barriers count the bytes that came, `empty` ones the warps that are done
// reading.
//
// The copying thread runs ahead into the next tile while the others write out this one. K is summed
// in ascending steps of 16 whatever the tile.
#include "kernels/common/adapter_sum.h"
#include "kernels/common/ring.h"
#include "kernels/ops/linear/linear_epilogue.h"
#include "kernels/ptx/hopper.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kDepth = 64;
constexpr int kRowBytes = kDepth * 2;
constexpr int kRows = 128;
constexpr int kGroupRows = 64;
constexpr int kConsumers = 2;
constexpr int kThreads = (1 + kConsumers) * ptx::kWarpgroupThreads;
constexpr int kConsumerWarps = kConsumers * ptx::kWarpgroupThreads / ptx::kWarpThreads;

template <int kTileColumns>
struct Ring {
  static constexpr int kColumns = kTileColumns;
  static constexpr int kStages = kTileColumns == 256 ? 4 : 6;
  static constexpr int kXBytes = kRows * kRowBytes;
  static constexpr int kStageBytes = kXBytes + kTileColumns * kRowBytes;
  static constexpr int kSharedBytes =
      kStages * kStageBytes + 2 * kStages * static_cast<int>(sizeof(ptx::Barrier));
};

// Calls visit(first row, first column) for each tile of this block that has live rows.
template <int kColumns, typename Visit>
__device__ void ForEachTile(const LinearArgs& args, Visit&& visit) {
  const int64_t row_tiles = (args.batch.capacity + kRows - 1) / kRows;
  const int64_t column_tiles = (args.out_features + kColumns - 1) / kColumns;
  const int64_t live = *args.batch.live_rows;
  for (int64_t tile = blockIdx.x; tile < row_tiles * column_tiles; tile += gridDim.x) {
    const TilePlace place = PlaceOfTile(tile, row_tiles, column_tiles);
    if (place.row_tile * kRows < live) visit(place.row_tile * kRows, place.column_tile * kColumns);
  }
}

template <typename R>
__device__ void Produce(const LinearArgs& args, const ptx::TensorMap& x_map,
                        const ptx::TensorMap& w_map, uint8_t* stages, ptx::Barrier* full,
                        ptx::Barrier* empty) {
  RingTurn<R::kStages> turn;
  ForEachTile<R::kColumns>(args, [&](int64_t row, int64_t column) {
    for (int64_t k = 0; k < args.in_features; k += kDepth) {
      ptx::WaitParity(&empty[turn.stage], turn.parity ^ 1);
      ptx::ArriveExpecting(&full[turn.stage], R::kStageBytes);
      uint8_t* stage = stages + turn.stage * R::kStageBytes;
      ptx::BulkLoad(stage, x_map, &full[turn.stage], static_cast<int32_t>(row),
                    static_cast<int32_t>(k));
      ptx::BulkLoad(stage + R::kXBytes, w_map, &full[turn.stage], static_cast<int32_t>(column),
                    static_cast<int32_t>(k));
      turn.Next();
    }
  });
}

template <typename R>
__device__ void Consume(const LinearArgs& args, int group, const uint8_t* stages,
                        ptx::Barrier* full, ptx::Barrier* empty, bool paired) {
  const int64_t live = *args.batch.live_rows;
  RingTurn<R::kStages> turn;
  ForEachTile<R::kColumns>(args, [&](int64_t first_row, int64_t first_column) {
    float sum[R::kColumns / 2];
    int before = -1;  // the stage whose products may still be under way
    for (int64_t k = 0; k < args.in_features; k += kDepth) {
      ptx::WaitParity(&full[turn.stage], turn.parity);
      const uint8_t* x = stages + turn.stage * R::kStageBytes + group * kGroupRows * kRowBytes;
      const uint8_t* w = stages + turn.stage * R::kStageBytes + R::kXBytes;
      ptx::FenceProducts();
#pragma unroll
      for (int step = 0; step < kDepth / 16; ++step) {
        ptx::MultiplyWarpgroup(sum, ptx::MatrixDescriptor(x + step * 32),
                               ptx::MatrixDescriptor(w + step * 32), k > 0 || step > 0);
      }
      ptx::CommitProducts();
      ptx::WaitProducts<1>();
      if (before >= 0 && ptx::Lane() == 0) ptx::Arrive(&empty[before]);
      before = turn.stage;
      turn.Next();
    }
    ptx::WaitProducts<0>();
    if (ptx::Lane() == 0) ptx::Arrive(&empty[before]);

    const int warp_row = group * kGroupRows + ptx::Warp() % 4 * 16;
    if (args.adapters.ranges != nullptr) {
      AddAdapters<R::kColumns / 8>(
          args.adapters, args.batch.capacity, args.out_features, first_row + warp_row, first_column,
          [&](int j) -> float(&)[4] { return reinterpret_cast<float(&)[4]>(sum[4 * j]); });
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first_row + warp_row + half * 8 + ptx::Lane() / 4;
      if (row >= live) continue;
#pragma unroll
      for (int j = 0; j < R::kColumns / 8; ++j) {
        StoreLinearPair(args, row, first_column + j * 8 + ptx::Lane() % 4 * 2,
                        sum[4 * j + 2 * half], sum[4 * j + 2 * half + 1], paired);
      }
    }
  });
}

template <typename R>
__global__ void __launch_bounds__(kThreads, 1)
    LinearSm90Kernel(LinearArgs args, const __grid_constant__ ptx::TensorMap x_map,
                     const __grid_constant__ ptx::TensorMap w_map, bool paired) {
  uint8_t* stages = ptx::SharedMemory();
  auto* full = reinterpret_cast<ptx::Barrier*>(stages + R::kStages * R::kStageBytes);
  ptx::Barrier* empty = full + R::kStages;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < R::kStages; ++stage) {
      ptx::InitBarrier(&full[stage], 1);
      ptx::InitBarrier(&empty[stage], kConsumerWarps);
    }
    ptx::FenceBarrierInit();
  }
  ptx::SyncBlock();
  const int group = static_cast<int>(threadIdx.x) / ptx::kWarpgroupThreads;
  if (group == 0) {
    ptx::GiveRegisters<40>();
    if (threadIdx.x == 0) Produce<R>(args, x_map, w_map, stages, full, empty);
  } else {
    ptx::TakeRegisters<232>();
    Consume<R>(args, group - 1, stages, full, empty, paired);
  }
}

template <typename R>
Result LaunchRing(const LinearArgs& args, int multiprocessors, cudaStream_t stream) {
  ptx::TensorMap x_map, w_map;
  Result encoded = ptx::EncodeTensorMap(args.x, args.batch.capacity, args.in_features,
                                        args.in_features, kRows, &x_map);
  if (!encoded.ok()) return encoded;
  encoded = ptx::EncodeTensorMap(args.weight, args.out_features, args.in_features, args.in_features,
                                 R::kColumns, &w_map);
  if (!encoded.ok()) return encoded;
  const int64_t tiles = ((args.batch.capacity + kRows - 1) / kRows) *
                        ((args.out_features + R::kColumns - 1) / R::kColumns);
  const int64_t blocks = tiles < multiprocessors ? tiles : multiprocessors;
  return ptx::Launch(LinearSm90Kernel<R>,
                     {dim3(static_cast<uint32_t>(blocks)), kThreads, R::kSharedBytes}, stream, args,
                     x_map, w_map, HasPairedRows(args));
}

}  // namespace

Result LinearSm90(const LinearArgs& args, const LinearConfig& config, cudaStream_t stream) {
  return config.tile_columns == 256 ? LaunchRing<Ring<256>>(args, config.multiprocessors, stream)
                                    : LaunchRing<Ring<128>>(args, config.multiprocessors, stream);
}

}  // namespace darkroom::kernels
