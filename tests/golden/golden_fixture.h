#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "darkroom/tensor.h"
#include "model/json.h"
#include "model/safetensors.h"
#include "nlohmann/json.hpp"

namespace darkroom::golden {

// What diffusers or PyTorch computed (README.md beside this file). Tests abort with a message when
// a fixture is not there: it is part of the repository.
class Fixture {
 public:
  // `file`: the fixture's JSON file, relative to fixtures/.
  explicit Fixture(const std::string& file);

  const Json& json() const { return json_; }
  // The folder of the JSON file.
  const std::string& folder() const { return folder_; }
  bool Has(const std::string& name) const { return tensors_->entries().contains(name); }
  Tensor Get(const std::string& name) const;
  std::vector<float> Floats(const std::string& name) const;
  std::vector<int64_t> Ints(const std::string& name) const;

 private:
  std::string folder_;
  Json json_;
  std::unique_ptr<SafetensorsFile> tensors_;
};

// Largest absolute difference; infinite when sizes differ or something is not a number.
double MaxDifference(const std::vector<float>& a, const std::vector<float>& b);
double MaxMagnitude(const std::vector<float>& values);

}  // namespace darkroom::golden
