#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::testing {

inline std::string NameOf(const std::string& id, const std::string& tenant = "local") {
  return absl::StrCat("tenants/", tenant, "/generations/", id);
}

// A generation as it is when it is accepted.
inline v1::Generation MakeGeneration(const std::string& id, const std::string& tenant = "local") {
  v1::Generation generation;
  generation.set_name(NameOf(id, tenant));
  generation.set_state(v1::Generation::STATE_QUEUED);
  generation.mutable_create_time()->set_seconds(1'700'000'000);
  v1::GenerateRequest& request = *generation.mutable_request();
  request.set_parent(absl::StrCat("tenants/", tenant));
  request.set_model("models/dit");
  request.set_task(v1::TASK_TEXT_TO_IMAGE);
  request.set_prompt("a fox in the snow, morning light, film grain");
  request.set_width(256);
  request.set_height(256);
  request.set_num_images(1);
  request.mutable_sampling()->set_steps(50);
  request.mutable_sampling()->set_guidance_scale(4.0);
  request.mutable_sampling()->set_seed(42);
  generation.set_steps_total(50);
  return generation;
}

inline v1::GenerateEvent MakeEvent(int64_t sequence) {
  v1::GenerateEvent event;
  event.set_sequence(sequence);
  event.mutable_time()->set_seconds(1'700'000'000);
  event.mutable_queued()->set_position(3);
  return event;
}

}  // namespace darkroom::testing
