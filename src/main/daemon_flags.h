#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "config/config.h"

namespace darkroom {

struct DaemonFlags {
  Config config;
  // Written once the daemon listens, holding "PORT\n"; empty for none.
  std::string port_file;
};

// The command line over the configuration file. On --help and --version prints and exits; on wrong
// flags prints why and exits with 2.
absl::StatusOr<DaemonFlags> ParseDaemonFlags(int argc, char** argv);

}  // namespace darkroom
