#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
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
        out_stride_(args.out_stride != 0 ? args.out_stride : heads_ * head_dim_),
        key_floats_(PackedKeyFloats(head_dim_)),
        value_floats_(PackedValueFloats(head_dim_)) {
    // Decided by the model and the machine alone, so that a job never changes its arithmetic.
    if (context.kernels.attention_block_bf16 != nullptr && args.position_bias == nullptr &&
        !args.causal && args.q.dtype == DType::kBf16 && args.k.dtype == DType::kBf16 &&
        args.v.dtype == DType::kBf16) {
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
    context_.pool.ParallelFor(key_block_count_ * heads_, [&](int64_t task, int thread) {
      const int64_t head = task % heads_;
      const int64_t number = head * key_block_count_ + task / heads_;
      Pack(key_blocks_[task / heads_], head, packed_k_ + number * key_floats_,
           packed_v_ + number * value_floats_, thread);
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
  int64_t PrefixLength(int32_t s) const {
    if (batch_.prefix_boundaries == nullptr) return 0;
    return batch_.prefix_boundaries[s + 1] - batch_.prefix_boundaries[s];
  }
  int64_t Length(int32_t s) const {
    return PrefixLength(s) + batch_.boundaries[s + 1] - batch_.boundaries[s];
  }
  // The buffer's row of a sequence's row `i`, counted through both of its runs.
  int64_t RowOf(int32_t s, int64_t i) const {
    const int64_t prefix = PrefixLength(s);
    return i < prefix ? batch_.prefix_boundaries[s] + i : batch_.boundaries[s] + i - prefix;
  }
  // Whether `count` rows from `first` on lie in both runs, so that they are not `row_stride` apart.
  bool Straddles(int32_t s, int64_t first, int64_t count) const {
    const int64_t prefix = PrefixLength(s);
    return first < prefix && prefix < first + count;
  }

  // Lays out the shared workspace: packed keys and values of long sequences, and the lists of work.
  absl::Status Prepare() {
    const int64_t packed = key_block_count_ * heads_;
    const size_t float_bytes = packed * (key_floats_ + value_floats_) * sizeof(float);
    const size_t list_bytes = sequences_ * (sizeof(int64_t) + sizeof(int32_t)) +
                              (query_block_count_ + key_block_count_) * sizeof(Block);
    const size_t thread_bytes =
        (AttentionScratchFloats(head_dim_) + key_floats_ + value_floats_ + 2 * GatherFloats()) *
        sizeof(float);
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

  // Blocks that straddle a sequence's two runs are copied together first: at most one of a kind in
  // a sequence and head. Two of them fit behind a thread's other scratch.
  int64_t GatherFloats() const {
    return batch_.prefix_boundaries == nullptr ? 0 : std::max(kKeyBlock, kQueryBlock) * head_dim_;
  }
  char* GatherScratch(int which, int thread) const {
    return reinterpret_cast<char*>(context_.workspace.thread<float>(thread) + key_floats_ +
                                   value_floats_ + AttentionScratchFloats(head_dim_) +
                                   which * GatherFloats());
  }
  const void* Gather(const Tensor& tensor, int32_t sequence, int64_t first, int64_t count,
                     int64_t head, char* to) const {
    const size_t bytes = head_dim_ * ByteSize(tensor.dtype);
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(to + i * bytes, At(tensor, RowOf(sequence, first + i), head), bytes);
    }
    return to;
  }

  void Pack(const Block& block, int64_t head, float* packed_k, float* packed_v, int thread) const {
    const int64_t first = int64_t{block.index} * kKeyBlock;
    const int64_t count = std::min<int64_t>(kKeyBlock, Length(block.sequence) - first);
    const int64_t row = RowOf(block.sequence, first);
    PackKeysArgs pack{};
    pack.k = At(args_.k, row, head);
    pack.v = At(args_.v, row, head);
    pack.k_dtype = args_.k.dtype;
    pack.v_dtype = args_.v.dtype;
    pack.row_stride = row_stride_;
    if (Straddles(block.sequence, first, count)) {
      pack.k = Gather(args_.k, block.sequence, first, count, head, GatherScratch(0, thread));
      pack.v = Gather(args_.v, block.sequence, first, count, head, GatherScratch(1, thread));
      pack.row_stride = head_dim_;
    }
    pack.keys = static_cast<int>(count);
    pack.head_dim = head_dim_;
    pack.packed_k = packed_k;
    pack.packed_v = packed_v;
    pack_keys_(pack);
  }

  void Attend(const Block& block, int64_t head, const float* packed_k, const float* packed_v,
              float* scratch, int thread) const {
    const int64_t length = Length(block.sequence);
    const int64_t first = int64_t{block.index} * kQueryBlock;
    const int64_t count = std::min<int64_t>(kQueryBlock, length - first);
    const int64_t row = RowOf(block.sequence, first);
    const bool straddles = Straddles(block.sequence, first, count);
    AttentionBlockArgs attend{};
    attend.q = At(args_.q, row, head);
    attend.q_dtype = args_.q.dtype;
    attend.q_stride = row_stride_;
    attend.queries = static_cast<int>(count);
    attend.keys = length;
    attend.head_dim = head_dim_;
    attend.scale = args_.scale;
    if (args_.position_bias != nullptr) {
      attend.bias = args_.position_bias + head * (2 * int64_t{args_.position_span} - 1) +
                    args_.position_span - 1;
    }
    attend.first_query = first;
    attend.causal = args_.causal;
    attend.packed_k = packed_k;
    attend.packed_v = packed_v;
    attend.packed_k_stride = key_floats_;
    attend.packed_v_stride = value_floats_;
    attend.out_stride = out_stride_;
    attend.out_dtype = args_.out.dtype;
    attend.out = OutAt(row, head);
    attend.scratch = scratch;
    if (straddles) {
      attend.q = Gather(args_.q, block.sequence, first, count, head, GatherScratch(0, thread));
      attend.q_stride = head_dim_;
      attend.out = GatherScratch(1, thread);
      attend.out_stride = head_dim_;
    }
    attention_block_(attend);
    const size_t bytes = head_dim_ * ByteSize(args_.out.dtype);
    for (int64_t i = 0; straddles && i < count; ++i) {
      std::memcpy(OutAt(RowOf(block.sequence, first + i), head),
                  GatherScratch(1, thread) + i * bytes, bytes);
    }
  }

  char* OutAt(int64_t row, int64_t head) const {
    return args_.out.as<char>() +
           (row * out_stride_ + head * head_dim_) * static_cast<int64_t>(ByteSize(args_.out.dtype));
  }

  void AttendLong(const Block& block, int64_t head, int thread) const {
    const int64_t number = head * key_block_count_ + first_key_block_[block.sequence];
    Attend(block, head, packed_k_ + number * key_floats_, packed_v_ + number * value_floats_,
           context_.workspace.thread<float>(thread), thread);
  }

  void AttendShort(int32_t sequence, int64_t head, int thread) const {
    float* packed_k = context_.workspace.thread<float>(thread);
    float* packed_v = packed_k + key_floats_;
    Pack({sequence, 0}, head, packed_k, packed_v, thread);
    const int64_t blocks = DivideUp(Length(sequence), kQueryBlock);
    for (int32_t i = 0; i < blocks; ++i) {
      Attend({sequence, i}, head, packed_k, packed_v, packed_v + value_floats_, thread);
    }
  }

  Context& context_;
  const AttentionArgs& args_;
  const PackedBatch& batch_;
  const int32_t sequences_;
  const int64_t heads_;
  const int64_t head_dim_;
  const int64_t row_stride_;
  const int64_t out_stride_;
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

// The biases reach as far as the sequences do.
absl::Status CheckSpan(const AttentionArgs& args, const PackedBatch& batch, int32_t sequences) {
  for (int32_t s = 0; s < sequences; ++s) {
    int64_t length = batch.boundaries[s + 1] - batch.boundaries[s];
    if (batch.prefix_boundaries != nullptr) {
      length += batch.prefix_boundaries[s + 1] - batch.prefix_boundaries[s];
    }
    if (length > args.position_span) {
      return absl::InvalidArgumentError(absl::StrCat("Attention: sequence ", s, " has ", length,
                                                     " rows, position_bias reaches over ",
                                                     args.position_span));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Attention(Context& context, const AttentionArgs& args, const PackedBatch& batch) {
  if (absl::Status status = CheckAttention(args, batch); !status.ok()) return status;
  const auto live = LiveSequences("Attention", batch);
  if (!live.ok()) return live.status();
  if (live->sequences == 0) return absl::OkStatus();
  if (args.position_bias != nullptr) {
    if (absl::Status status = CheckSpan(args, batch, live->sequences); !status.ok()) return status;
  }
  return AttentionRun(context, args, batch, live->sequences).Run();
}

}  // namespace darkroom::cpu
