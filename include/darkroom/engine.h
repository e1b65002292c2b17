#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/job_inputs.h"
#include "darkroom/payload.h"
#include "darkroom/store.h"
#include "darkroom/v1/admin.pb.h"
#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/model.pb.h"

namespace darkroom {

template <typename T>
using Callback = absl::AnyInvocable<void(T) &&>;

// One watcher's place in a generation's events. Destroying it ends the watch. Used by one thread at
// a time.
//
// An OutputChunk event comes without data, `offset` 0 and `last` true: it stands for all chunks of
// that output, whose size is in Generation.outputs. The caller reads the bytes with ReadOutput and
// sends ceil(size / 1 MiB) chunks; chunk k has sequence number `sequence` + k, all of them
// reserved.
class EventStream {
 public:
  virtual ~EventStream() = default;
  enum class Next { kEvent, kPending, kEnded };
  // kPending: nothing new; `on_ready` of Watch will be called once when there is. kEnded: the
  // generation ended and every event was given. Never blocks.
  virtual Next TryNext(std::shared_ptr<const v1::GenerateEvent>& event) = 0;
};

// What the gateway asks of the engine. Thread-safe; no call blocks; callbacks run on an engine
// thread that is not the control thread, must not block, and run exactly once.
class Engine {
 public:
  virtual ~Engine() = default;

  // What to do when the last attached stream of a generation goes away before its end.
  enum class Abandon { kKeep, kCancelNow, kCancelAfterGrace };

  struct Submit {
    std::string tenant;
    // Validated, every default resolved but the seed's already chosen; `parent`, `model` filled in.
    v1::GenerateRequest request;
    // SHA-256 of the request as the client sent it, hex.
    std::string request_hash;
    Abandon abandon = Abandon::kKeep;
    // The request's pictures as they were uploaded, in the order of its `inputs`, which name them
    // by their digests; they become durable with the generation.
    std::vector<Payload> input_bytes;
    // The same pictures decoded.
    JobInputs inputs;
  };
  // Done once the generation is durable. Attaches to the earlier generation when the request id was
  // seen before, whatever a new one would be refused for. RESOURCE_EXHAUSTED (QUEUE_FULL,
  // TENANT_RATE, INPUTS_FULL, OVERLOADED, and with an AdmissionOffer NO_GUARANTEE),
  // FAILED_PRECONDITION (DEADLINE_TOO_SOON, with an AdmissionOffer), INVALID_ARGUMENT
  // (DEADLINE_PASSED), UNAVAILABLE (DRAINING, STORE_BROKEN), ALREADY_EXISTS (REQUEST_ID_REUSED,
  // GENERATION_DELETED).
  virtual void SubmitGeneration(Submit submit, Callback<absl::StatusOr<v1::Generation>> done) = 0;

  // The generation that the tenant's `request_id` made, for a repetition that is refused before it
  // comes to SubmitGeneration. NOT_FOUND (REQUEST_UNKNOWN), ALREADY_EXISTS (REQUEST_ID_REUSED,
  // GENERATION_DELETED), RESOURCE_EXHAUSTED (SERVER_BUSY).
  virtual void FindRequest(const std::string& tenant, const std::string& request_id,
                           const std::string& request_hash,
                           Callback<absl::StatusOr<v1::Generation>> done) = 0;

  // What SubmitGeneration would answer now, and when it would be done; changes nothing. A refusal
  // is in the answer. RESOURCE_EXHAUSTED (SERVER_BUSY).
  virtual void EstimateGeneration(
      Submit submit, Callback<absl::StatusOr<v1::EstimateGenerationResponse>> done) = 0;

  // The tenant is part of every name, so another tenant's generation is simply another name.
  virtual void GetGeneration(const std::string& name,
                             Callback<absl::StatusOr<v1::Generation>> done) = 0;
  virtual void ListGenerations(const GenerationStore::ListQuery& query,
                               Callback<absl::StatusOr<GenerationStore::ListPage>> done) = 0;
  // Done when the cancellation is durable.
  virtual void CancelGeneration(const std::string& name,
                                Callback<absl::StatusOr<v1::Generation>> done) = 0;
  virtual void DeleteGeneration(const std::string& name, Callback<absl::Status> done) = 0;
  // Encoded bytes of one output. NOT_FOUND.
  virtual void ReadOutput(const std::string& name, int index,
                          Callback<absl::StatusOr<Payload>> done) = 0;

  // `attached`: the stream counts as the generation's client (see Abandon); a plain watcher's does
  // not. `on_ready` may be called on any engine thread, also from inside TryNext's first call.
  virtual void Watch(const std::string& name, int64_t after_sequence, bool attached,
                     absl::AnyInvocable<void()> on_ready,
                     Callback<absl::StatusOr<std::unique_ptr<EventStream>>> done) = 0;

  // The scheduler as it is now.
  virtual void GetStatus(Callback<absl::StatusOr<v1::GetStatusResponse>> done) = 0;

  // Snapshots of what the control thread last published.
  virtual std::vector<v1::Model> Models() const = 0;
  virtual v1::ServerInfo Info() const = 0;
};

}  // namespace darkroom
