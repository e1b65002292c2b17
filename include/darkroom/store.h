#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "darkroom/asset_store.h"
#include "darkroom/key_store.h"
#include "darkroom/tenant_store.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom {

// Durable generations, idempotency keys and generation events.
//
// Thread: one, the store thread, which owns the object; calls block on disk. Everything outside
// Transact sees committed data only.
//
// After an I/O error the store is broken: every later call returns that error and nothing is
// retried, because after a failed fsync the kernel may have dropped the very pages it was asked to
// keep. The process must restart and recover.
class GenerationStore {
 public:
  virtual ~GenerationStore() = default;

  // Runs `body` inside one transaction and commits it: on OK everything written is durable. When
  // `body` fails nothing is written and its status is returned. Calls inside `body` may fail one by
  // one (a conflict, a missing row) without spoiling the others: that is group commit.
  virtual absl::Status Transact(absl::FunctionRef<absl::Status()> body) = 0;

  // Durable number of this start of the daemon: 1, 2, 3... Event sequence numbers begin with it and
  // so never repeat after a crash.
  virtual absl::StatusOr<int64_t> NextBoot() = 0;

  struct NewGeneration {
    v1::Generation generation;
    // Client's request id; empty for none. Unique per tenant for at least 24 h.
    std::string request_id;
    // SHA-256 of the request as sent, hex.
    std::string request_hash;
  };
  struct Created {
    // False: `request_id` was seen before and `generation` is that first one, as it is now.
    bool inserted = false;
    v1::Generation generation;
  };
  // ALREADY_EXISTS (REQUEST_ID_REUSED) when `request_id` was used with another hash, and
  // (GENERATION_DELETED) when it was used by a generation that has been deleted since.
  virtual absl::StatusOr<Created> Create(const NewGeneration& create) = 0;

  // The generation, as it is now, that `request_id` made. NOT_FOUND (REQUEST_UNKNOWN) when none
  // did; ALREADY_EXISTS as from Create.
  virtual absl::StatusOr<v1::Generation> FindRequest(const std::string& tenant,
                                                     const std::string& request_id,
                                                     const std::string& request_hash) = 0;

  // Replaces the generation and appends `events` (with their sequence numbers set, ascending).
  // NOT_FOUND when it does not exist.
  virtual absl::Status Update(const v1::Generation& generation,
                              absl::Span<const v1::GenerateEvent> events) = 0;

  // NOT_FOUND (GENERATION_NOT_FOUND).
  virtual absl::StatusOr<v1::Generation> Get(const std::string& name) = 0;

  struct ListQuery {
    std::string tenant;
    std::vector<v1::Generation::State> states;  // empty: all
    int page_size = 50;
    std::string page_token;
  };
  struct ListPage {
    std::vector<v1::Generation> generations;  // newest first
    std::string next_page_token;              // empty on the last page
  };
  // INVALID_ARGUMENT (PAGE_TOKEN_INVALID) for a token that this query did not give.
  virtual absl::StatusOr<ListPage> List(const ListQuery& query) = 0;

  // Kept events with a sequence number above `after_sequence`, ascending.
  virtual absl::StatusOr<std::vector<v1::GenerateEvent>> EventsAfter(const std::string& name,
                                                                     int64_t after_sequence) = 0;

  // Removes the generation with its events; its request id stays until it expires. NOT_FOUND.
  virtual absl::Status Delete(const std::string& name) = 0;

  // Every generation that has not ended, oldest first: the queue to recover at start.
  virtual absl::StatusOr<std::vector<v1::Generation>> Unfinished() = 0;

  // Removes up to `max` generations that ended before `before`, and as many expired request ids:
  // older than 24 h, their generation gone. Returns the generations' names, so that the caller
  // deletes the blobs.
  virtual absl::StatusOr<std::vector<std::string>> PurgeEnded(absl::Time before, int max) = 0;

  // The tenants' uploaded pictures, in the same database. What writes is called inside Transact.
  virtual AssetStore& assets() = 0;
  // The API keys, likewise.
  virtual KeyStore& keys() = 0;
  // The tenants, likewise.
  virtual TenantStore& tenants() = 0;
};

}  // namespace darkroom
