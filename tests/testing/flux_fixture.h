#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "nlohmann/json.hpp"
#include "testing/temp_folder.h"

namespace darkroom::testing {

// A copy of one of the golden FLUX.1 pipelines, to be damaged.
class FluxFixture {
 public:
  // "dev", "schnell" or "sharded"
  explicit FluxFixture(const std::string& name) { CopyFrom(name, ""); }

  std::string path() const { return folder_.Path("model"); }
  std::string Path(const std::string& file) const { return path() + "/" + file; }

  // Puts another pipeline's component in the place of this one's; all of it when empty.
  void CopyFrom(const std::string& name, const std::string& component) const {
    const std::string source =
        std::string(DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_") + name + "/model/";
    std::filesystem::remove_all(Path(component));
    std::filesystem::copy(source + component, Path(component),
                          std::filesystem::copy_options::recursive);
  }
  void Remove(const std::string& file) const { std::filesystem::remove_all(Path(file)); }
  void Edit(const std::string& file, const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json json = nlohmann::json::parse(folder_.Read("model/" + file));
    change(json);
    folder_.Write("model/" + file, json.dump());
  }

 private:
  TempFolder folder_;
};

}  // namespace darkroom::testing
