// The file in which measured costs are kept.
#include "engine/cost_book.h"
#include "fuzz/fuzz_target.h"

namespace darkroom::fuzz {

using engine::CostBook;

void Run(std::string_view bytes) {
  const auto book = CostBook::Parse(bytes);
  if (book.ok()) Require(book->Format() == bytes, "only what Format makes is read");
}

std::vector<std::string> Seeds() {
  CostBook book;
  book.Set({"cpu, 2 threads", "digest", "f32", 1},
           {{{scheduler::Stage::kDenoise, 64, 1'000'000}, {scheduler::Stage::kDecode, 1, 5}}, {}});
  book.Set({"cpu", "digest", "bf16", 2}, {});
  return {CostBook().Format(), book.Format()};
}

}  // namespace darkroom::fuzz
