// A model's weights, as a tenant could send them.
#include "fuzz/fuzz_target.h"
#include "model/safetensors.h"

namespace darkroom::fuzz {

void Run(std::string_view bytes) {
  const auto entries = ParseSafetensors(bytes, "x.safetensors");
  if (!entries.ok()) return;
  for (const auto& [name, entry] : *entries) {
    Require(
        entry.offset_bytes <= bytes.size() && entry.size_bytes <= bytes.size() - entry.offset_bytes,
        "tensors lie within the file");
  }
}

std::vector<std::string> Seeds() {
  const auto file = [](const std::string& header, size_t data) {
    std::string bytes(8, '\0');
    bytes[0] = static_cast<char>(header.size());
    bytes[1] = static_cast<char>(header.size() >> 8);
    return bytes + header + std::string(data, 'x');
  };
  return {
      file(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
      file(R"({"__metadata__":{"f":"pt"},"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},)"
           R"("b":{"dtype":"U8","shape":[],"data_offsets":[8,9]}})",
           9),
      file(R"({"e":{"dtype":"F16","shape":[0,7],"data_offsets":[0,0]}})", 0),
      file("{}", 0),
  };
}

}  // namespace darkroom::fuzz
