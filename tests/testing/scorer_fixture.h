#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "nlohmann/json.hpp"
#include "testing/temp_folder.h"

namespace darkroom::testing {

inline constexpr char kTinyScorer[] = DARKROOM_SOURCE_DIR "/tests/golden/fixtures/scorer/scorer";
// Its image_size.
inline constexpr int kTinyScorerSize = 16;

// A copy of the golden scorer, to be damaged.
class ScorerFixture {
 public:
  ScorerFixture() {
    std::filesystem::copy(kTinyScorer, path(), std::filesystem::copy_options::recursive);
  }

  std::string path() const { return folder_.Path("scorer"); }
  void Remove(const std::string& file) const { std::filesystem::remove_all(path() + "/" + file); }
  void Write(const std::string& file, const std::string& text) const {
    folder_.Write("scorer/" + file, text);
  }
  void Edit(const std::string& file, const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json json = nlohmann::json::parse(folder_.Read("scorer/" + file));
    change(json);
    Write(file, json.dump());
  }

 private:
  TempFolder folder_;
};

}  // namespace darkroom::testing
