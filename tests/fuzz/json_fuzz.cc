// A model's configuration files.
#include "fuzz/fuzz_target.h"
#include "model/config_reader.h"
#include "model/json.h"
#include "nlohmann/json.hpp"

namespace darkroom::fuzz {

void Run(std::string_view bytes) {
  const auto json = ParseJsonObject(bytes, "config.json");
  if (!json.ok()) return;
  ConfigReader reader(*json, "config.json");
  const int64_t layers = reader.Int("num_layers", 1, 64, 2);
  Require(layers >= 1 && layers <= 64, "a number is within its range");
  const double epsilon = reader.Number("eps", 0, 1, 1e-6);
  Require(epsilon >= 0 && epsilon <= 1, "a number is within its range");
  reader.Bool("bias", true);
  Require(!reader.Choice("act", {"gelu", "silu"}).empty(),
          "a choice is one of those that there are");
  Require(reader.Ints("channels", 1, 4096, 8).size() <= 8, "a list is no longer than it may be");
  Require(reader.Strings("classes", 4).size() <= 4, "a list is no longer than it may be");
  reader.Object("inner");
  reader.OnlyUnset("trust_remote_code");
  (void)reader.Finish();
}

std::vector<std::string> Seeds() {
  return {
      R"({"_class_name":"X","num_layers":4,"eps":1e-6,"bias":true,"act":"gelu","channels":[6,8]})",
      R"({"inner":{"a":[1,2.5,-3e10,null]},"classes":["a","b"],"trust_remote_code":null})",
      "{\"text\":\"\\u00e9\\ud83c\\udf53\\n\\\"\",\"deep\":[[[[[[]]]]]]}",
  };
}

}  // namespace darkroom::fuzz
