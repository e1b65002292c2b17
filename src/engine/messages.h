#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "darkroom/engine.h"
#include "darkroom/job_inputs.h"
#include "darkroom/payload.h"
#include "darkroom/store.h"
#include "darkroom/v1/admin.pb.h"
#include "darkroom/v1/worker.pb.h"
#include "darkroom/worker_pool.h"
#include "engine/tenant_book.h"

// What the control thread is told and what it orders. Values only: the controller that turns one
// into the other holds no socket, thread or clock.
namespace darkroom::engine {

// A caller that waits for an answer; 0 for none.
using CallId = uint64_t;
// A write on its way to the store.
using WriteId = uint64_t;

struct Now {
  int64_t mono_ns = 0;
  absl::Time wall;
};

// ---- events ----

struct SubmitReceived {
  CallId call = 0;
  Engine::Submit submit;
  uint64_t random_high = 0;  // for the new generation's id
  uint64_t random_low = 0;
};
// What would become of a submission, answered by ReplyEstimate.
struct EstimateReceived {
  CallId call = 0;
  Engine::Submit submit;
};
// Answered by ReplyStatus.
struct StatusReceived {
  CallId call = 0;
};
struct CancelReceived {
  CallId call = 0;
  std::string name;
};
struct DeleteReceived {
  CallId call = 0;
  std::string name;
};
// The last attached stream of a generation went away; or one came back.
struct StreamsGone {
  std::string name;
};
struct StreamsBack {
  std::string name;
};
// Unfinished generations with their kept events, as the store had them at start.
struct Recovered {
  struct Item {
    v1::Generation generation;
    std::vector<v1::GenerateEvent> events;
  };
  std::vector<Item> items;
};
struct CreateDone {
  CallId call = 0;
  std::string name;  // of the generation that was to be made
  v1::GenerateEvent queued;
  absl::StatusOr<GenerationStore::Created> result;
};
struct UpdateDone {
  WriteId write = 0;
  absl::Status status;
};
struct WorkerSaid {
  WorkerId worker = 0;
  v1::FromWorker message;
  std::vector<Payload> attachments;
};
struct WorkerGone {
  WorkerId worker = 0;
  LostCause cause = LostCause::kExited;
  std::string detail;
};
struct MediaDone {
  uint64_t job = 0;
  uint64_t sequence = 0;
  int64_t duration_ns = 0;
  absl::Status status;
  std::string sha256;
  int64_t size_bytes = 0;
};
// Answers PrepareInputs.
struct InputsPrepared {
  std::string name;
  absl::Status status;
  JobInputs inputs;
};
// Answers EncodePreview.
struct PreviewEncoded {
  std::string generation;
  int output_index = 0;
  int32_t step = 0;
  std::string png;
};
// A tenant is treated so from now on.
struct TenantChanged {
  TenantPolicy policy;
};
// All that the tenant has waiting or running ends as failed, and nothing more is taken from it.
// Answered by Reply once nothing of it is left; the generation in it is empty.
struct TenantGone {
  CallId call = 0;
  std::string tenant;
};
struct DrainRequested {};
struct Tick {};

using Event = std::variant<SubmitReceived, EstimateReceived, StatusReceived, CancelReceived,
                           DeleteReceived, StreamsGone, StreamsBack, Recovered, CreateDone,
                           UpdateDone, WorkerSaid, WorkerGone, MediaDone, InputsPrepared,
                           PreviewEncoded, TenantChanged, TenantGone, DrainRequested, Tick>;

// ---- commands ----

struct Reply {
  CallId call = 0;
  absl::StatusOr<v1::Generation> result;
};
struct ReplyEstimate {
  CallId call = 0;
  absl::StatusOr<v1::EstimateGenerationResponse> result;
};
struct ReplyStatus {
  CallId call = 0;
  v1::GetStatusResponse status;
};
// Answer from the store: the generation is not live.
struct ReplyFromStore {
  CallId call = 0;
  std::string name;
};
// Refuses a submission with `status`, unless its request id has made a generation before: then that
// is the answer, or what is wrong with the repetition.
struct ReplyRefused {
  CallId call = 0;
  std::string tenant;
  std::string request_id;
  std::string request_hash;
  absl::Status status;
};
// One transaction: create, and `queued` as its first event if it was inserted. Answered by
// CreateDone. `inputs` are durable before it, each under InputBlobKey.
struct WriteCreate {
  CallId call = 0;
  GenerationStore::NewGeneration create;
  v1::GenerateEvent queued;
  std::vector<Payload> inputs;
};
// Read the pictures of a generation that a restart has found, and decode them. Answered by
// InputsPrepared.
struct PrepareInputs {
  std::string name;
  v1::GenerateRequest request;
};
// Encode and answer with PreviewEncoded; left out when the media threads are behind.
struct EncodePreview {
  std::string generation;
  int output_index = 0;
  int32_t step = 0;
  Payload pixels;  // u8 [height, width, 3]
  int32_t width = 0;
  int32_t height = 0;
};
// Answered by UpdateDone, in order.
struct WriteUpdate {
  WriteId write = 0;
  v1::Generation generation;
  std::vector<v1::GenerateEvent> events;
};
// Deletes an ended generation and its outputs, and answers the call.
struct WriteDelete {
  CallId call = 0;
  std::string name;
};
struct PurgeEnded {
  absl::Time before;
};
struct StartWorker {
  WorkerId worker = 0;
  std::string device;  // "cpu", "cuda:0"
};
struct SendToWorker {
  WorkerId worker = 0;
  v1::ToWorker message;
  std::vector<Payload> attachments;
};
struct KillWorker {
  WorkerId worker = 0;
};
// Encode, store under `blob_key`, then MediaDone.
struct EncodeMedia {
  uint64_t job = 0;
  uint64_t sequence = 0;
  Payload pixels;  // u8 [height, width, 3]
  int32_t width = 0;
  int32_t height = 0;
  std::string blob_key;
  // Where the mask keeps the init image, its own pixels are put back; empty for nothing.
  JobInputs overlay;
  // Metadata of the picture, in order.
  std::vector<std::pair<std::string, std::string>> texts;
};
// Watchers may come from now on. `past`: events that happened before this start of the daemon.
struct OpenTopic {
  std::string name;
  std::vector<v1::GenerateEvent> past;
};
struct Publish {
  std::string name;
  std::shared_ptr<const v1::GenerateEvent> event;
  // Progress: a late watcher needs only the latest of each output.
  bool transient = false;
};
// No further events: watchers end once they have read what there is.
struct CloseTopic {
  std::string name;
};
// Everything that was accepted has ended; only after DrainRequested.
struct Drained {};
// To replace the file of measured costs.
struct SaveCosts {
  std::string text;
};
// To be appended to the decision log, in order.
struct RecordDecision {
  std::string bytes;
};
// The daemon cannot go on: the store broke, or no model can be loaded.
struct Fatal {
  absl::Status status;
};

using Command =
    std::variant<Reply, ReplyEstimate, ReplyStatus, ReplyFromStore, ReplyRefused, WriteCreate,
                 PrepareInputs, WriteUpdate, WriteDelete, PurgeEnded, StartWorker, SendToWorker,
                 KillWorker, EncodeMedia, EncodePreview, OpenTopic, Publish, CloseTopic, SaveCosts,
                 RecordDecision, Drained, Fatal>;
using Commands = std::vector<Command>;

}  // namespace darkroom::engine
