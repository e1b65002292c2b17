#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "darkroom/engine.h"
#include "darkroom/job_inputs.h"
#include "darkroom/payload.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/worker.pb.h"
#include "engine/messages.h"
#include "scheduler/types.h"

namespace darkroom::engine {

// A generation that has not ended, or whose end is not yet durable, or whose last quantum has not
// yet been charged. Belongs to the controller.
struct GenerationRecord {
  v1::Generation generation;
  std::string tenant;
  scheduler::ModelId model = 0;
  Engine::Abandon abandon = Engine::Abandon::kKeep;
  int64_t abandon_at_ns = 0;  // 0: a client is attached, or none is needed
  // Last sequence number given out.
  int64_t sequence = 0;
  // Durable events on their way to the store. While there are any, no progress is published: it
  // would overtake them.
  int writes_pending = 0;
  int outputs_left = 0;
  // Of its outputs, ended ones included; held by the scheduler until the creation is durable.
  std::vector<scheduler::JobId> jobs;
  // The store has it; before that nothing of it may be written.
  bool stored = false;
  // The pictures to start from; given back when it ends.
  JobInputs inputs;
  // They are being decoded again after a restart.
  bool awaits_inputs = false;
  // Jobs in plans that are out; their charges are still to come.
  int plans_out = 0;
  bool ended = false;
  bool end_durable = false;
  bool usage_changed = false;
  int64_t usage_by_stage[scheduler::kStages] = {};
  int64_t elapsed_by_stage[scheduler::kStages] = {};
};

// One output on its way.
struct JobRecord {
  std::string generation;
  int output_index = 0;
  int32_t steps_done = 0;
  std::string numerics_id;  // of the worker it runs on
  // Where to go on after a lost worker; bytes beside it in the order of JobOutcome.
  std::shared_ptr<const v1::Checkpoint> checkpoint;
  std::vector<Payload> checkpoint_tensors;
  Payload pixels;  // between decode and media encode
  int32_t pixel_width = 0;
  int32_t pixel_height = 0;
  // What was charged to its tenant: stages but denoising, of scheduler::StageBit, and whole steps.
  uint8_t stages_paid = 0;
  int32_t steps_paid = 0;
  int32_t step_run = 0;  // the latest that ran, or a part of it, from 1
  scheduler::Stage stage = scheduler::Stage::kEncode;
  int64_t stage_since_ns = 0;
};

// Waits for the store: what to do once the write is durable.
struct PendingWrite {
  std::string generation;
  std::vector<v1::GenerateEvent> events;
  bool ends = false;
  std::vector<CallId> calls;
};

}  // namespace darkroom::engine
