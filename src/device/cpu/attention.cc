#include "device/cpu/attention_layout.h"
#include "device/cpu/live_batch.h"
#include "device/cpu/ops_internal.h"
#include "device/op_check.h"

namespace darkroom::cpu {
namespace {

// A run of at most `block` rows of one sequence.
struct Block {
  int32_t sequence;
  int32_t index;  // within the sequence
};

// Blocks of all sequences in order. Returns how many; writes them when `blocks` is not null, and
// each sequence's first when `first` is not.
int64_t ListBlocks(const PackedBatch& batch, int32_t sequences, int64_t block_rows, Block* blocks,
                   int64_t* first) {
  int64_t count = 0;
  for (int32_t s = 0; s < sequences; ++s) {
    if (first != nullptr) first[s] = count;
    const int64_t length = batch.boundaries[s + 1] - batch.boundaries[s];
    for (int64_t i = 0; i < DivideUp(length, block_rows); ++i, ++count) {
      if (blocks != nullptr) blocks[count] = {s, static_cast<int32_t>(i)};
    }
  }
  return count;
}

class AttentionRun {
 public:
  AttentionRun(Context& context, const AttentionArgs& args, const PackedBatch& batch,
               int32_t sequences)
      : context_(context),
        args_(args),
        batch_(batch),
        sequences_(sequences),
        heads_(args.q.dims[1]),
        head_dim_(args.q.dims[2]),
        row_stride_(args.row_stride != 0 ? args.row_stride : heads_ * head_dim_),
        query_blocks_count_(ListBlocks(batch, sequences, kQueryBlock, nullptr, nullptr)),
        key_blocks_count_(ListBlocks(batch, sequences, kKeyBlock, nullptr, nullptr)) {}

  absl::Status Run() {
    if (absl::Status status = Prepare(); !status.ok()) return status;
    context_.pool.ParallelFor(key_blocks_count_ * heads_, [&](int64_t task, int) {
      PackBlock(key_blocks_[task / heads_], task / heads_, task % heads_);
    });
    context_.pool.ParallelFor(query_blocks_count_ * heads_, [&](int64_t task, int thread) {
      // Neighbouring tasks share a head's keys, which then stay in cache.
      const int64_t block = task % query_blocks_count_;
      AttendBlock(query_blocks_[block], task / query_blocks_count_, thread);
    });
    return absl::OkStatus();
  }

 private:
  // Lays out the shared workspace: packed keys, packed values, and the lists of blocks.
  absl::Status Prepare() {
    const int64_t packed = key_blocks_count_ * heads_;
    const size_t float_bytes =
        packed * (PackedKeyFloats(head_dim_) + PackedValueFloats(head_dim_)) * sizeof(float);
    const size_t list_bytes =
        sequences_ * sizeof(int64_t) + (query_blocks_count_ + key_blocks_count_) * sizeof(Block);
    if (absl::Status status = context_.workspace.Reserve(
            AttentionScratchFloats(head_dim_) * sizeof(float), float_bytes + list_bytes);
        !status.ok()) {
      return status;
    }
    packed_k_ = context_.workspace.shared<float>();
    packed_v_ = packed_k_ + packed * PackedKeyFloats(head_dim_);
    first_key_block_ =
        reinterpret_cast<int64_t*>(packed_v_ + packed * PackedValueFloats(head_dim_));
    query_blocks_ = reinterpret_cast<Block*>(first_key_block_ + sequences_);
    key_blocks_ = query_blocks_ + query_blocks_count_;
    ListBlocks(batch_, sequences_, kQueryBlock, query_blocks_, nullptr);
    ListBlocks(batch_, sequences_, kKeyBlock, key_blocks_, first_key_block_);
    return absl::OkStatus();
  }

  const char* At(const Tensor& tensor, int64_t row, int64_t head) const {
    return tensor.as<const char>() +
           (row * row_stride_ + head * head_dim_) * static_cast<int64_t>(ByteSize(tensor.dtype));
  }

  void PackBlock(const Block& block, int64_t number, int64_t head) const {
    const int64_t begin = batch_.boundaries[block.sequence] + int64_t{block.index} * kKeyBlock;
    const int64_t left = batch_.boundaries[block.sequence + 1] - begin;
    PackKeysArgs pack{};
    pack.k = At(args_.k, begin, head);
    pack.v = At(args_.v, begin, head);
    pack.k_dtype = args_.k.dtype;
    pack.v_dtype = args_.v.dtype;
    pack.row_stride = row_stride_;
    pack.keys = static_cast<int>(left < kKeyBlock ? left : kKeyBlock);
    pack.head_dim = head_dim_;
    pack.packed_k = packed_k_ + (head * key_blocks_count_ + number) * PackedKeyFloats(head_dim_);
    pack.packed_v = packed_v_ + (head * key_blocks_count_ + number) * PackedValueFloats(head_dim_);
    context_.kernels.pack_keys(pack);
  }

  void AttendBlock(const Block& block, int64_t head, int thread) const {
    const int64_t sequence_begin = batch_.boundaries[block.sequence];
    const int64_t sequence_end = batch_.boundaries[block.sequence + 1];
    const int64_t begin = sequence_begin + int64_t{block.index} * kQueryBlock;
    const int64_t number = head * key_blocks_count_ + first_key_block_[block.sequence];
    AttentionBlockArgs attend{};
    attend.q = At(args_.q, begin, head);
    attend.q_dtype = args_.q.dtype;
    attend.q_stride = row_stride_;
    attend.queries =
        static_cast<int>(sequence_end - begin < kQueryBlock ? sequence_end - begin : kQueryBlock);
    attend.keys = sequence_end - sequence_begin;
    attend.head_dim = head_dim_;
    attend.scale = args_.scale;
    attend.packed_k = packed_k_ + number * PackedKeyFloats(head_dim_);
    attend.packed_v = packed_v_ + number * PackedValueFloats(head_dim_);
    attend.packed_k_stride = PackedKeyFloats(head_dim_);
    attend.packed_v_stride = PackedValueFloats(head_dim_);
    attend.out_stride = heads_ * head_dim_;
    attend.out_dtype = args_.out.dtype;
    attend.out = args_.out.as<char>() + (begin * attend.out_stride + head * head_dim_) *
                                            static_cast<int64_t>(ByteSize(args_.out.dtype));
    attend.scratch = context_.workspace.thread<float>(thread);
    context_.kernels.attention_block(attend);
  }

  Context& context_;
  const AttentionArgs& args_;
  const PackedBatch& batch_;
  const int32_t sequences_;
  const int64_t heads_;
  const int64_t head_dim_;
  const int64_t row_stride_;
  const int64_t query_blocks_count_;
  const int64_t key_blocks_count_;
  float* packed_k_ = nullptr;
  float* packed_v_ = nullptr;
  int64_t* first_key_block_ = nullptr;
  Block* query_blocks_ = nullptr;
  Block* key_blocks_ = nullptr;
};

}  // namespace

absl::Status Attention(Context& context, const AttentionArgs& args, const PackedBatch& batch) {
  if (absl::Status status = CheckAttention(args, batch); !status.ok()) return status;
  const auto live = LiveSequences("Attention", batch);
  if (!live.ok()) return live.status();
  if (live->sequences == 0) return absl::OkStatus();
  return AttentionRun(context, args, batch, live->sequences).Run();
}

}  // namespace darkroom::cpu
