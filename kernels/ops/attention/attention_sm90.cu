// Attention on Hopper's tensor cores by wgmma, after FlashAttention-3 (Shah et al., 2024): a block
// has a tile of queries of one sequence and head, 64 of them for each multiplying warpgroup; one
// more warpgroup copies. Keys and values come in blocks through two rings of stages in shared
// memory. Scores live in registers only: the accumulator of Q K^T has the layout that P V wants of
// its left operand.
//
// While the tensor cores multiply the values of one block, the threads take the softmax of the
// next: its keys were multiplied before.
//
// Tiles and blocks have rows of one of a sequence's two runs, so that each is one box for the copy
// engine. What a box holds beyond its run belongs to others, NaN perhaps: such queries are not
// written, such keys' scores are masked; values, which a weight of 0 does not silence, are copied
// by the threads then, with zeros behind the end.
#include <cmath>

#include "kernels/common/ring.h"
#include "kernels/common/sequence_tiles.h"
#include "kernels/common/validate.h"
#include "kernels/common/vectors.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ptx/hopper.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kGroupQueries = 64;
constexpr int kBoxColumns = 64;
constexpr int kBoxRowBytes = kBoxColumns * 2;
constexpr int kProducerBarrier = 1;
constexpr float kLog2E = 1.4426950408889634f;

template <int kHead, int kBlockKeys, int kConsumerGroups, int kRingStages, int kProducerRegs,
          int kConsumerRegs>
struct Plan {
  static constexpr int kHeadDim = kHead;
  static constexpr int kKeys = kBlockKeys;
  static constexpr int kStages = kRingStages;
  static constexpr int kProducerRegisters = kProducerRegs;
  static constexpr int kConsumerRegisters = kConsumerRegs;
  static constexpr int kQueries = kConsumerGroups * kGroupQueries;
  static constexpr int kThreads = (1 + kConsumerGroups) * ptx::kWarpgroupThreads;
  static constexpr int kConsumerWarps = kConsumerGroups * 4;
  static constexpr int kBoxes = kHead / kBoxColumns;  // beside each other in a tile
  static constexpr int kQueryBoxBytes = kQueries * kBoxRowBytes;
  static constexpr int kKeyBoxBytes = kBlockKeys * kBoxRowBytes;
  static constexpr int kQueryBytes = kBoxes * kQueryBoxBytes;
  static constexpr int kBlockBytes = kBoxes * kKeyBoxBytes;
  static constexpr int kBarriers = 1 + 4 * kStages;
  static constexpr int kSharedBytes =
      kQueryBytes + 2 * kStages * kBlockBytes + kBarriers * static_cast<int>(sizeof(ptx::Barrier));
  static_assert(kKeyBoxBytes % 1024 == 0 && kBlockKeys % 16 == 0);
};

// Where everything lies in shared memory.
template <typename P>
struct Shared {
  uint8_t* queries;
  uint8_t* keys;    // [stages]
  uint8_t* values;  // [stages]
  ptx::Barrier* queries_full;
  ptx::Barrier* keys_full;  // [stages], and the others
  ptx::Barrier* keys_empty;
  ptx::Barrier* values_full;
  ptx::Barrier* values_empty;

  __device__ explicit Shared(uint8_t* base)
      : queries(base),
        keys(base + P::kQueryBytes),
        values(keys + P::kStages * P::kBlockBytes),
        queries_full(reinterpret_cast<ptx::Barrier*>(values + P::kStages * P::kBlockBytes)),
        keys_full(queries_full + 1),
        keys_empty(keys_full + P::kStages),
        values_full(keys_empty + P::kStages),
        values_empty(values_full + P::kStages) {}

  __device__ void InitBarriers() {
    ptx::InitBarrier(queries_full, 1);
    for (int stage = 0; stage < P::kStages; ++stage) {
      ptx::InitBarrier(&keys_full[stage], 1);
      ptx::InitBarrier(&keys_empty[stage], P::kConsumerWarps);
      ptx::InitBarrier(&values_full[stage], 1);
      ptx::InitBarrier(&values_empty[stage], P::kConsumerWarps);
    }
    ptx::FenceBarrierInit();
  }
};

// What a block works on.
struct Work {
  SequenceRows rows;
  RunTile queries;
  int32_t blocks;  // of keys
};

// One thread brings a tile's boxes.
template <typename P, int kBoxBytes>
__device__ void BringTile(uint8_t* to, const ptx::TensorMap& map, ptx::Barrier* full, int64_t row) {
  ptx::ArriveExpecting(full, P::kBoxes * kBoxBytes);
#pragma unroll
  for (int box = 0; box < P::kBoxes; ++box) {
    ptx::BulkLoad(to + box * kBoxBytes, map, full, static_cast<int32_t>(row),
                  static_cast<int32_t>(blockIdx.y) * P::kHeadDim + box * kBoxColumns);
  }
}

// All copying threads bring a block of values whose run ends within it: zeros behind the end.
template <typename P>
__device__ void BringLastValues(const AttentionArgs& args, uint8_t* to, const RunTile& keys) {
  constexpr int kChunks = kBoxColumns / kVectorElements;
  const auto* values = static_cast<const __nv_bfloat16*>(args.v) + blockIdx.y * P::kHeadDim;
  // Not unrolled: this warpgroup has given its registers away, and the copies do not wait.
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < P::kBoxes * P::kKeys * kChunks;
       i += ptx::kWarpgroupThreads) {
    const int chunk = i % kChunks;
    const int row = i / kChunks % P::kKeys;
    const int box = i / (kChunks * P::kKeys);
    const bool inside = row < keys.rows;
    const __nv_bfloat16* from = inside ? values + (keys.row + row) * args.row_stride +
                                             box * kBoxColumns + chunk * kVectorElements
                                       : values;
    ptx::CopyAsync16(
        to + box * P::kKeyBoxBytes + row * kBoxRowBytes + (chunk ^ row % 8) * sizeof(Bytes16), from,
        inside);
  }
  ptx::CommitCopies();
  ptx::WaitCopies<0>();
  ptx::FenceShared();
}

template <typename P>
__device__ void Produce(const AttentionArgs& args, const Work& work, const ptx::TensorMap& q_map,
                        const ptx::TensorMap& k_map, const ptx::TensorMap& v_map,
                        const Shared<P>& shared) {
  const bool leads = threadIdx.x == 0;
  if (leads) {
    BringTile<P, P::kQueryBoxBytes>(shared.queries, q_map, shared.queries_full, work.queries.row);
  }
  RingTurn<P::kStages> turn;
  for (int32_t block = 0; block < work.blocks; ++block, turn.Next()) {
    const RunTile keys = RunTileOf(work.rows, block, P::kKeys);
    const bool whole = keys.rows == P::kKeys;
    uint8_t* values = shared.values + turn.stage * P::kBlockBytes;
    ptx::Barrier* values_full = &shared.values_full[turn.stage];
    if (leads) {
      ptx::WaitParity(&shared.keys_empty[turn.stage], turn.parity ^ 1);
      BringTile<P, P::kKeyBoxBytes>(shared.keys + turn.stage * P::kBlockBytes, k_map,
                                    &shared.keys_full[turn.stage], keys.row);
      ptx::WaitParity(&shared.values_empty[turn.stage], turn.parity ^ 1);
      if (whole) BringTile<P, P::kKeyBoxBytes>(values, v_map, values_full, keys.row);
    }
    if (whole) continue;
    ptx::SyncWarp();
    ptx::SyncNamed(kProducerBarrier, ptx::kWarpgroupThreads);  // the stage is empty
    BringLastValues<P>(args, values, keys);
    ptx::SyncNamed(kProducerBarrier, ptx::kWarpgroupThreads);  // all have brought theirs
    if (leads) ptx::Arrive(values_full);
    ptx::SyncWarp();
  }
}

// What a thread keeps of its two queries, rows lane / 4 and 8 more of its warp's 16.
template <typename P>
struct QueryState {
  float out[P::kHeadDim / 2];
  float score[P::kKeys / 2];
  uint32_t weight[P::kKeys / 16][4];
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};
};

template <typename P>
__device__ void StartScores(QueryState<P>& state, const uint8_t* queries, const uint8_t* keys) {
  ptx::FenceProducts();
#pragma unroll
  for (int step = 0; step < P::kHeadDim / 16; ++step) {
    const int box = step / 4;
    const int within = step % 4 * 32;
    ptx::MultiplyWarpgroup(state.score,
                           ptx::MatrixDescriptor(queries + box * P::kQueryBoxBytes + within),
                           ptx::MatrixDescriptor(keys + box * P::kKeyBoxBytes + within), step > 0);
  }
  ptx::CommitProducts();
}

template <typename P>
__device__ void StartValues(QueryState<P>& state, const uint8_t* values, bool accumulate) {
  ptx::FenceProducts();
#pragma unroll
  for (int step = 0; step < P::kKeys / 16; ++step) {
    ptx::MultiplyRows(state.out, state.weight[step],
                      ptx::TransposedDescriptor(values + step * 16 * kBoxRowBytes, P::kKeyBoxBytes),
                      accumulate || step > 0);
  }
  ptx::CommitProducts();
}

// Scores become weights 2^((score - maximum) * scale) in f32; returns by what sums so far are to be
// multiplied. `scale` is positive and in units of log2.
template <typename P>
__device__ void Softmax(QueryState<P>& state, const RunTile& keys, float scale,
                        float (&correction)[2]) {
  if (keys.rows < P::kKeys) {
#pragma unroll
    for (int i = 0; i < P::kKeys / 2; ++i) {
      if (i / 4 * 8 + ptx::Lane() % 4 * 2 + i % 2 >= keys.rows) state.score[i] = -INFINITY;
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float maximum = state.maximum[half];
#pragma unroll
    for (int i = 2 * half; i < P::kKeys / 2; i += 4) {
      maximum = fmaxf(maximum, fmaxf(state.score[i], state.score[i + 1]));
    }
    maximum = fmaxf(maximum, ptx::ShuffleXor(maximum, 1));
    maximum = fmaxf(maximum, ptx::ShuffleXor(maximum, 2));
    correction[half] = ptx::Exp2((state.maximum[half] - maximum) * scale);
    state.maximum[half] = maximum;
    const float offset = -maximum * scale;
    float sum = state.sum[half] * correction[half];
#pragma unroll
    for (int i = 2 * half; i < P::kKeys / 2; i += 4) {
      state.score[i] = ptx::Exp2(fmaf(state.score[i], scale, offset));
      state.score[i + 1] = ptx::Exp2(fmaf(state.score[i + 1], scale, offset));
      sum += state.score[i] + state.score[i + 1];
    }
    state.sum[half] = sum;
  }
}

// The weights as the left operand of the next product.
template <typename P>
__device__ void PackWeights(QueryState<P>& state) {
#pragma unroll
  for (int i = 0; i < P::kKeys / 4; ++i) {
    state.weight[i / 4][i % 4] = ptx::PackBf16(state.score[2 * i], state.score[2 * i + 1]);
  }
}

template <typename P>
__device__ void StoreOut(const AttentionArgs& args, const Work& work, int first_query,
                         const QueryState<P>& state, bool paired) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];
    sum += ptx::ShuffleXor(sum, 1);
    sum += ptx::ShuffleXor(sum, 2);
    const float inverse = 1.0f / sum;
    const int query = first_query + ptx::Lane() / 4 + half * 8;
    if (query >= work.queries.rows) continue;
    const int64_t to = (work.queries.row + query) * args.out_stride + blockIdx.y * P::kHeadDim;
#pragma unroll
    for (int j = 0; j < P::kHeadDim / 8; ++j) {
      StorePair(args.out, args.out_dtype, to + j * 8 + ptx::Lane() % 4 * 2,
                state.out[4 * j + 2 * half] * inverse, state.out[4 * j + 2 * half + 1] * inverse,
                paired);
    }
  }
}

template <typename P>
__device__ void Consume(const AttentionArgs& args, const Work& work, const Shared<P>& shared,
                        int group, bool paired) {
  const float scale = args.scale * kLog2E;
  const uint8_t* queries = shared.queries + group * kGroupQueries * kBoxRowBytes;
  QueryState<P> state;
  float correction[2];
  RingTurn<P::kStages> turn;    // of keys
  RingTurn<P::kStages> behind;  // of values, a block later
  const auto start_scores = [&] {
    ptx::WaitParity(&shared.keys_full[turn.stage], turn.parity);
    StartScores(state, queries, shared.keys + turn.stage * P::kBlockBytes);
  };
  const auto start_values = [&](bool accumulate) {
    ptx::WaitParity(&shared.values_full[behind.stage], behind.parity);
    StartValues(state, shared.values + behind.stage * P::kBlockBytes, accumulate);
  };
  const auto give_back = [&](ptx::Barrier* empty, RingTurn<P::kStages>& of) {
    if (ptx::Lane() == 0) ptx::Arrive(&empty[of.stage]);
    of.Next();
  };

  ptx::WaitParity(shared.queries_full, 0);
  start_scores();
  ptx::WaitProducts<0>();
  give_back(shared.keys_empty, turn);
  Softmax(state, RunTileOf(work.rows, 0, P::kKeys), scale, correction);
  PackWeights(state);
  for (int32_t block = 1; block < work.blocks; ++block) {
    start_scores();
    start_values(block > 1);
    ptx::WaitProducts<1>();
    give_back(shared.keys_empty, turn);
    Softmax(state, RunTileOf(work.rows, block, P::kKeys), scale, correction);
    ptx::WaitProducts<0>();
    give_back(shared.values_empty, behind);
#pragma unroll
    for (int i = 0; i < P::kHeadDim / 2; ++i) state.out[i] *= correction[i / 2 % 2];
    PackWeights(state);
  }
  start_values(work.blocks > 1);
  ptx::WaitProducts<0>();
  StoreOut(args, work, group * kGroupQueries + ptx::Warp() % 4 * 16, state, paired);
}

template <typename P>
__global__ void __launch_bounds__(P::kThreads, 1)
    AttentionSm90Kernel(AttentionArgs args, const __grid_constant__ ptx::TensorMap q_map,
                        const __grid_constant__ ptx::TensorMap k_map,
                        const __grid_constant__ ptx::TensorMap v_map, bool paired) {
  const SequenceTile tile =
      FindTileOf(args.batch, static_cast<int32_t>(blockIdx.x),
                 [](const SequenceRows& rows) { return RunTilesOf(rows, P::kQueries); });
  if (tile.sequence < 0) return;
  const SequenceRows rows = RowsOfSequence(args.batch, tile.sequence);
  const Work work{rows, RunTileOf(rows, tile.index, P::kQueries), RunTilesOf(rows, P::kKeys)};
  Shared<P> shared(ptx::SharedMemory());
  if (threadIdx.x == 0) shared.InitBarriers();
  ptx::SyncBlock();
  const int group = static_cast<int>(threadIdx.x) / ptx::kWarpgroupThreads;
  if (group == 0) {
    ptx::GiveRegisters<P::kProducerRegisters>();
    Produce<P>(args, work, q_map, k_map, v_map, shared);
  } else {
    ptx::TakeRegisters<P::kConsumerRegisters>();
    Consume<P>(args, work, shared, group - 1, paired);
  }
}

template <typename P>
Result LaunchPlan(const AttentionArgs& args, cudaStream_t stream) {
  ptx::TensorMap q_map, k_map, v_map;
  const auto encode = [&](const void* data, int box_rows, ptx::TensorMap* map) {
    return ptx::EncodeTensorMap(data, args.batch.capacity, int64_t{args.heads} * args.head_dim,
                                args.row_stride, box_rows, map);
  };
  Result encoded = FirstError(encode(args.q, P::kQueries, &q_map), encode(args.k, P::kKeys, &k_map),
                              encode(args.v, P::kKeys, &v_map));
  if (!encoded.ok()) return encoded;
  const dim3 blocks(static_cast<uint32_t>(RunTilesMax(args.batch, P::kQueries)),
                    static_cast<uint32_t>(args.heads));
  const bool paired = args.out_stride % 2 == 0 && reinterpret_cast<uintptr_t>(args.out) % 8 == 0;
  return ptx::Launch(AttentionSm90Kernel<P>, {blocks, P::kThreads, P::kSharedBytes}, stream, args,
                     q_map, k_map, v_map, paired);
}

}  // namespace

Result AttentionSm90(const AttentionArgs& args, cudaStream_t stream) {
  return args.head_dim == 64 ? LaunchPlan<Plan<64, 128, 3, 4, 32, 160>>(args, stream)
                             : LaunchPlan<Plan<128, 176, 2, 2, 24, 240>>(args, stream);
}

}  // namespace darkroom::kernels
