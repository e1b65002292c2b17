#include <algorithm>

#include "device/cpu/attention_layout.h"
#include "device/cpu/live_batch.h"
#include "device/cpu/ops_internal.h"
#include "device/op_check.h"

namespace darkroom::cpu {
namespace {

// A run of at most kQueryBlock or kKeyBlock rows of one sequence.
struct Block {
  int32_t sequence;
  int32_t index;  // within the sequence
};

// Work is cut per head and by blocks counted from each sequence's start. A sequence whose keys fit
// one block is one task, which packs them into its thread's scratch and uses them at once. A longer
// one shares its packed keys: all are packed first, then its query blocks are tasks of their own.
// Either way the same kernels see the same blocks in the same order.
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
        key_floats_(PackedKeyFloats(head_dim_)),
        value_floats_(PackedValueFloats(head_dim_)) {
    // Decided by dtypes and machine alone, so that a job never changes its arithmetic.
    if (context.kernels.attention_block_bf16 != nullptr && args.q.dtype == DType::kBf16 &&
        args.k.dtype == DType::kBf16 && args.v.dtype == DType::kBf16) {
      pack_keys_ = context.kernels.pack_keys_bf16;
      attention_block_ = context.kernels.attention_block_bf16;
    }
    for (int32_t s = 0; s < sequences; ++s) {
      if (Length(s) <= kKeyBlock) {
        short_count_ += Length(s) > 0;
      } else {
        key_block_count_ += DivideUp(Length(s), kKeyBlock);
        query_block_count_ += DivideUp(Length(s), kQueryBlock);
      }
    }
  }

  absl::Status Run() {
    if (absl::Status status = Prepare(); !status.ok()) return status;
    context_.pool.ParallelFor(key_block_count_ * heads_, [&](int64_t task, int) {
      const int64_t head = task % heads_;
      const int64_t number = head * key_block_count_ + task / heads_;
      Pack(key_blocks_[task / heads_], head, packed_k_ + number * key_floats_,
           packed_v_ + number * value_floats_);
    });
    // Long sequences first: their tasks are the larger. Neighbouring tasks share a head's keys.
    const int64_t long_tasks = query_block_count_ * heads_;
    context_.pool.ParallelFor(long_tasks + short_count_ * heads_, [&](int64_t task, int thread) {
      if (task < long_tasks) {
        AttendLong(query_blocks_[task % query_block_count_], task / query_block_count_, thread);
      } else {
        task -= long_tasks;
        AttendShort(short_sequences_[task / heads_], task % heads_, thread);
      }
    });
    return absl::OkStatus();
  }

 private:
  int64_t Length(int32_t s) const { return batch_.boundaries[s + 1] - batch_.boundaries[s]; }

  // Lays out the shared workspace: packed keys and values of long sequences, and the lists of work.
  absl::Status Prepare() {
    const int64_t packed = key_block_count_ * heads_;
    const size_t float_bytes = packed * (key_floats_ + value_floats_) * sizeof(float);
    const size_t list_bytes = sequences_ * (sizeof(int64_t) + sizeof(int32_t)) +
                              (query_block_count_ + key_block_count_) * sizeof(Block);
    const size_t thread_bytes =
        (AttentionScratchFloats(head_dim_) + key_floats_ + value_floats_) * sizeof(float);
    if (absl::Status status = context_.workspace.Reserve(thread_bytes, float_bytes + list_bytes);
        !status.ok()) {
      return status;
    }
    packed_k_ = context_.workspace.shared<float>();
    packed_v_ = packed_k_ + packed * key_floats_;
    first_key_block_ = reinterpret_cast<int64_t*>(packed_v_ + packed * value_floats_);
    query_blocks_ = reinterpret_cast<Block*>(first_key_block_ + sequences_);
    key_blocks_ = query_blocks_ + query_block_count_;
    short_sequences_ = reinterpret_cast<int32_t*>(key_blocks_ + key_block_count_);
    ListWork();
    return absl::OkStatus();
  }

  void ListWork() {
    int32_t* short_sequence = short_sequences_;
    Block* query_block = query_blocks_;
    Block* key_block = key_blocks_;
    for (int32_t s = 0; s < sequences_; ++s) {
      const int64_t length = Length(s);
      if (length <= kKeyBlock) {
        if (length > 0) *short_sequence++ = s;
        continue;
      }
      first_key_block_[s] = key_block - key_blocks_;
      for (int32_t i = 0; i < DivideUp(length, kKeyBlock); ++i) *key_block++ = {s, i};
      for (int32_t i = 0; i < DivideUp(length, kQueryBlock); ++i) *query_block++ = {s, i};
    }
  }

  const char* At(const Tensor& tensor, int64_t row, int64_t head) const {
    return tensor.as<const char>() +
           (row * row_stride_ + head * head_dim_) * static_cast<int64_t>(ByteSize(tensor.dtype));
  }

  void Pack(const Block& block, int64_t head, float* packed_k, float* packed_v) const {
    const int64_t first = int64_t{block.index} * kKeyBlock;
    const int64_t row = batch_.boundaries[block.sequence] + first;
    PackKeysArgs pack{};
    pack.k = At(args_.k, row, head);
    pack.v = At(args_.v, row, head);
    pack.k_dtype = args_.k.dtype;
    pack.v_dtype = args_.v.dtype;
    pack.row_stride = row_stride_;
    pack.keys = static_cast<int>(std::min<int64_t>(kKeyBlock, Length(block.sequence) - first));
    pack.head_dim = head_dim_;
    pack.packed_k = packed_k;
    pack.packed_v = packed_v;
    pack_keys_(pack);
  }

  void Attend(const Block& block, int64_t head, const float* packed_k, const float* packed_v,
              float* scratch) const {
    const int64_t length = Length(block.sequence);
    const int64_t first = int64_t{block.index} * kQueryBlock;
    const int64_t row = batch_.boundaries[block.sequence] + first;
    AttentionBlockArgs attend{};
    attend.q = At(args_.q, row, head);
    attend.q_dtype = args_.q.dtype;
    attend.q_stride = row_stride_;
    attend.queries = static_cast<int>(std::min<int64_t>(kQueryBlock, length - first));
    attend.keys = length;
    attend.head_dim = head_dim_;
    attend.scale = args_.scale;
    attend.packed_k = packed_k;
    attend.packed_v = packed_v;
    attend.packed_k_stride = key_floats_;
    attend.packed_v_stride = value_floats_;
    attend.out_stride = heads_ * head_dim_;
    attend.out_dtype = args_.out.dtype;
    attend.out = args_.out.as<char>() + (row * attend.out_stride + head * head_dim_) *
                                            static_cast<int64_t>(ByteSize(args_.out.dtype));
    attend.scratch = scratch;
    attention_block_(attend);
  }

  void AttendLong(const Block& block, int64_t head, int thread) const {
    const int64_t number = head * key_block_count_ + first_key_block_[block.sequence];
    Attend(block, head, packed_k_ + number * key_floats_, packed_v_ + number * value_floats_,
           context_.workspace.thread<float>(thread));
  }

  void AttendShort(int32_t sequence, int64_t head, int thread) const {
    float* packed_k = context_.workspace.thread<float>(thread);
    float* packed_v = packed_k + key_floats_;
    Pack({sequence, 0}, head, packed_k, packed_v);
    const int64_t blocks = DivideUp(Length(sequence), kQueryBlock);
    for (int32_t i = 0; i < blocks; ++i) {
      Attend({sequence, i}, head, packed_k, packed_v, packed_v + value_floats_);
    }
  }

  Context& context_;
  const AttentionArgs& args_;
  const PackedBatch& batch_;
  const int32_t sequences_;
  const int64_t heads_;
  const int64_t head_dim_;
  const int64_t row_stride_;
  const int64_t key_floats_;
  const int64_t value_floats_;
  void (*pack_keys_)(const PackKeysArgs&) = context_.kernels.pack_keys;
  void (*attention_block_)(const AttentionBlockArgs&) = context_.kernels.attention_block;
  int64_t short_count_ = 0;
  int64_t key_block_count_ = 0;
  int64_t query_block_count_ = 0;
  float* packed_k_ = nullptr;
  float* packed_v_ = nullptr;
  int64_t* first_key_block_ = nullptr;  // of each long sequence
  Block* query_blocks_ = nullptr;
  Block* key_blocks_ = nullptr;
  int32_t* short_sequences_ = nullptr;
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
