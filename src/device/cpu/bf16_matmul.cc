#include "device/cpu/bf16_matmul.h"

#include <omp.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "device/limits.h"

namespace darkroom::cpu {
namespace {

using dnnl::memory;

dnnl::matmul::primitive_desc Describe(const dnnl::engine& engine, int64_t depth, int64_t columns) {
  const memory::desc a({kBf16TileRows, depth}, memory::data_type::bf16, memory::format_tag::ab);
  const memory::desc b({depth, columns}, memory::data_type::bf16, memory::format_tag::any);
  // Without gaps between its rows: otherwise oneDNN 2.6 leaves its AMX kernel for one half as fast.
  const memory::desc c({kBf16TileRows, columns}, memory::data_type::f32, memory::format_tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine);
}

}  // namespace

SequentialOpenMp::SequentialOpenMp() : threads_before_(omp_get_max_threads()) {
  if (threads_before_ != 1) omp_set_num_threads(1);
}

SequentialOpenMp::~SequentialOpenMp() {
  if (threads_before_ != 1) omp_set_num_threads(threads_before_);
}

Bf16Matmul::Bf16Matmul(const dnnl::engine& engine, int64_t depth, int64_t columns, int threads)
    : engine_(engine),
      depth_(depth),
      columns_(columns),
      description_(Describe(engine, depth, columns)),
      primitive_(description_) {
  per_thread_.reserve(threads);
  for (int i = 0; i < threads; ++i) {
    const auto bind = [&](const memory::desc& desc) {
      return memory(desc, engine_, DNNL_MEMORY_NONE);
    };
    per_thread_.push_back({bind(description_.src_desc()), bind(description_.weights_desc()),
                           bind(description_.dst_desc()), bind(description_.scratchpad_desc()),
                           dnnl::stream(engine_)});
  }
}

void Bf16Matmul::Pack(const uint16_t* weight, void* packed) const {
  // The weight is [columns, depth]; the primitive wants depth x columns, so it is read transposed.
  const memory::desc plain({depth_, columns_}, memory::data_type::bf16, memory::format_tag::ba);
  memory from(plain, engine_, const_cast<uint16_t*>(weight));
  memory to(description_.weights_desc(), engine_, packed);
  dnnl::stream stream(engine_);
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
}

bool Bf16Matmul::Run(int thread, const uint16_t* a, const void* packed, float* c, void* scratch) {
  PerThread& own = per_thread_[thread];
  const auto set = [](const memory& m, const void* data) {
    return dnnl_memory_set_data_handle(m.get(), const_cast<void*>(data)) == dnnl_success;
  };
  if (!set(own.a, a) || !set(own.b, packed) || !set(own.c, c) || !set(own.scratch, scratch)) {
    return false;
  }
  // The C call: it neither throws nor builds a map for its arguments.
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, own.a.get()},
                                       {DNNL_ARG_WEIGHTS, own.b.get()},
                                       {DNNL_ARG_DST, own.c.get()},
                                       {DNNL_ARG_SCRATCHPAD, own.scratch.get()}};
  return dnnl_primitive_execute(primitive_.get(), own.stream.get(), 4, arguments) == dnnl_success;
}

absl::StatusOr<Bf16Matmul*> Bf16MatmulCache::Get(int64_t depth, int64_t columns) {
  std::unique_ptr<Bf16Matmul>& entry = by_shape_[{depth, columns}];
  if (entry == nullptr) {
    if (by_shape_.size() > kCpuPrimitivesMax) {
      by_shape_.erase({depth, columns});
      return absl::ResourceExhaustedError("too many different matrix shapes on one CPU backend");
    }
    try {
      const SequentialOpenMp sequential;
      entry = std::make_unique<Bf16Matmul>(engine_, depth, columns, threads_);
    } catch (const dnnl::error& error) {
      by_shape_.erase({depth, columns});
      return absl::InternalError(absl::StrCat("oneDNN refuses a bf16 matrix product of depth ",
                                              depth, ": ", error.what()));
    }
  }
  return entry.get();
}

}  // namespace darkroom::cpu
