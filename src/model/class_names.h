#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "model/json.h"

namespace darkroom {

// The classes of a class-conditional model, from `id2label` of model_index.json. A label is a list
// of synonyms separated by commas, any of which names the class. Immutable.
class ClassNames {
 public:
  // `classes`: ids are 0 to classes - 1. Some may have no name. INVALID_ARGUMENT (MODEL_INVALID).
  static absl::StatusOr<ClassNames> Parse(const Json& model_index, int classes);

  // Every name once, in the order of the file.
  const std::vector<std::string>& names() const { return names_; }
  // The class a prompt names: a synonym or a whole label, spaces around it and ASCII case ignored.
  // Ids are not names. INVALID_ARGUMENT (CLASS_UNKNOWN) with the nearest names.
  absl::StatusOr<int> Find(std::string_view prompt) const;

 private:
  // `listed`: also among names().
  void Add(std::string_view name, int id, bool listed);

  std::vector<std::string> names_;
  absl::flat_hash_set<std::string> listed_;  // what is in names_
  // By exact name, and by name in lower case. As in diffusers the last of equal names wins.
  absl::flat_hash_map<std::string, int> exact_;
  absl::flat_hash_map<std::string, int> folded_;
};

}  // namespace darkroom
