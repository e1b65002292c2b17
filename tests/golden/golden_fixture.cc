#include "golden/golden_fixture.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "model/weights.h"

namespace darkroom::golden {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "golden fixture: %s\n", what.c_str());
  std::abort();
}

}  // namespace

Fixture::Fixture(const std::string& file) {
  const std::filesystem::path path =
      std::filesystem::path(DARKROOM_SOURCE_DIR) / "tests/golden/fixtures" / file;
  folder_ = path.parent_path();
  std::ifstream stream(path);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  absl::StatusOr<Json> json = ParseJsonObject(text, file);
  if (!json.ok()) Fail(json.status().ToString());
  json_ = *std::move(json);
  const std::string tensors = json_.at("goldens").get<std::string>();
  auto opened = SafetensorsFile::Open(folder_ + "/" + tensors, tensors);
  if (!opened.ok()) Fail(opened.status().ToString());
  tensors_ = *std::move(opened);
}

Tensor Fixture::Get(const std::string& name) const {
  const auto found = tensors_->entries().find(name);
  if (found == tensors_->entries().end()) Fail("no tensor " + name);
  return tensors_->View(found->second);
}

std::vector<float> Fixture::Floats(const std::string& name) const { return ToFloat(Get(name)); }

std::vector<int64_t> Fixture::Ints(const std::string& name) const {
  const Tensor tensor = Get(name);
  if (tensor.dtype != DType::kI64) Fail(name + " is not I64");
  std::vector<int64_t> values(static_cast<size_t>(tensor.size()));
  std::memcpy(values.data(), tensor.data, tensor.bytes());
  return values;
}

double MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, difference);
  }
  return largest;
}

double MaxMagnitude(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values)
    largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

}  // namespace darkroom::golden
