#pragma once

#include <string_view>

namespace darkroom {

// How many times a job's transformer runs: what is due before it can be decoded. Known to both
// processes, because the daemon plans steps whose noise levels only the worker knows.
//
// `steps` and `strength` as in the request; strength 1 where nothing is given to start from. The
// last steps * strength steps are run, as by diffusers' image-to-image pipelines, and by a second-
// order sampler each of them twice but the last. 0 when the strength leaves nothing to do.
// REQUIRES: steps >= 1, 0 <= strength <= 1.
int DenoiseEvaluations(std::string_view sampler, int steps, double strength);

// Steps at the beginning of the schedule that a strength leaves out.
int SkippedSteps(int steps, double strength);

}  // namespace darkroom
