#include "store/store_rules.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "store/limits.h"

namespace darkroom {
namespace {

absl::Status CheckSize(const std::string& bytes) {
  if (bytes.size() <= store_limits::kGenerationBytesMax) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "GENERATION_TOO_LARGE",
               absl::StrCat("the generation takes ", bytes.size(), " bytes; at most ",
                            store_limits::kGenerationBytesMax, " are kept"));
}

absl::Status EventsInvalid(const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, "EVENTS_INVALID", message);
}

}  // namespace

bool IsEnded(v1::Generation::State state) {
  return state == v1::Generation::STATE_SUCCEEDED || state == v1::Generation::STATE_FAILED ||
         state == v1::Generation::STATE_CANCELLED;
}

absl::Status CheckCreate(const GenerationStore::NewGeneration& create, const std::string& bytes) {
  if (auto name = GenerationName::Parse(create.generation.name(), "name"); !name.ok()) {
    return name.status();
  }
  if (create.request_id.size() > store_limits::kRequestIdBytesMax ||
      create.request_hash.size() > store_limits::kRequestHashBytesMax) {
    return Error(absl::StatusCode::kInvalidArgument, "REQUEST_ID_INVALID",
                 absl::StrCat("request_id is ", create.request_id.size(),
                              " bytes long; it must be a UUID"))
        .Field("request_id", "must be a UUID");
  }
  return CheckSize(bytes);
}

absl::Status CheckUpdate(const std::string& bytes, int64_t last_sequence,
                         absl::Span<const v1::GenerateEvent> events) {
  if (static_cast<int64_t>(events.size()) > store_limits::kEventsPerGenerationMax) {
    return EventsInvalid(absl::StrCat("an update has ", events.size(), " events; at most ",
                                      store_limits::kEventsPerGenerationMax, " are kept"));
  }
  for (const v1::GenerateEvent& event : events) {
    if (event.sequence() <= last_sequence) {
      return EventsInvalid(absl::StrCat("event ", event.sequence(), " follows event ",
                                        last_sequence, "; sequence numbers must ascend"));
    }
    if (event.ByteSizeLong() > store_limits::kEventBytesMax) {
      return EventsInvalid(absl::StrCat("event ", event.sequence(), " takes ", event.ByteSizeLong(),
                                        " bytes; at most ", store_limits::kEventBytesMax,
                                        " are kept"));
    }
    last_sequence = event.sequence();
  }
  return CheckSize(bytes);
}

int ClampPageSize(int page_size) { return std::clamp(page_size, 1, store_limits::kPageSizeMax); }

absl::Status GenerationNotFound(std::string_view name) {
  return Error(absl::StatusCode::kNotFound, "GENERATION_NOT_FOUND",
               absl::StrCat("there is no generation ", std::string(name)));
}

absl::Status GenerationExists(std::string_view name) {
  return Error(absl::StatusCode::kAlreadyExists, "GENERATION_EXISTS",
               absl::StrCat("there is a generation ", std::string(name), " already"));
}

absl::Status RequestIdReused(std::string_view request_id) {
  return Error(absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED",
               absl::StrCat("request_id ", std::string(request_id),
                            " was used before, for another request; use a new one"))
      .Field("request_id", "must be new, or come with the same request as before");
}

absl::Status RequestUnknown(std::string_view request_id) {
  return Error(absl::StatusCode::kNotFound, "REQUEST_UNKNOWN",
               absl::StrCat("no generation was made by request_id ", std::string(request_id)));
}

absl::Status RequestOfDeletedGeneration(std::string_view request_id) {
  return Error(absl::StatusCode::kAlreadyExists, "GENERATION_DELETED",
               absl::StrCat("request_id ", std::string(request_id),
                            " was used before, by a generation that is "
                            "deleted; use a new one"))
      .Field("request_id", "must be new");
}

}  // namespace darkroom
