#pragma once

#include <cstdint>
#include <string>

namespace darkroom {

// darkroom-sim --trace LOG --format decisions: what a daemon did and what the simulator makes of
// the same jobs (simulator/daemon_rerun.h), on standard output. Returns the exit code.
int DecisionsMain(const std::string& path, int64_t warmup_jobs, bool json);

}  // namespace darkroom
