#include "main/cli/follower.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/error.h"

namespace darkroom::cli {
namespace {

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

// ", done in about 12.3 s"
std::string WaitText(const v1::Forecast& forecast) {
  if (forecast.wait_reason() == v1::WAIT_REASON_MODEL_LOADING) return ", its model is being loaded";
  if (!forecast.has_end_time()) return "";
  const double seconds = absl::ToDoubleSeconds(FromProto(forecast.end_time()) - absl::Now());
  return absl::StrFormat(", done in about %.1f s", std::max(0.0, seconds));
}

}  // namespace

absl::Status Follower::OnEvent(const v1::GenerateEvent& event) {
  // validate_only's one event has no number.
  if (event.sequence() != 0 && event.sequence() <= last_sequence_) return absl::OkStatus();
  last_sequence_ = event.sequence();
  if (!event.generation().empty()) name_ = event.generation();
  if (session_.output.json()) {
    v1::GenerateEvent shown = event;
    // Outputs go to files; as base64 they would bury the rest.
    if (shown.has_output_chunk()) shown.mutable_output_chunk()->clear_data();
    if (shown.has_preview()) shown.mutable_preview()->clear_data();
    session_.output.Json(shown);
  }
  switch (event.event_case()) {
    case v1::GenerateEvent::kQueued:
      steps_total_ = event.queued().resolved().steps_total();
      bar_.Show(absl::StrCat("queued, ", event.queued().position(), " before it",
                             WaitText(event.queued().forecast())));
      break;
    case v1::GenerateEvent::kStarted:
      bar_.Show("started");
      break;
    case v1::GenerateEvent::kProgress:
      ShowProgress(event.progress());
      break;
    case v1::GenerateEvent::kOutputChunk:
      if (writes_) return files_.Add(event.output_chunk());
      break;
    case v1::GenerateEvent::kCompleted:
      ended_ = event.completed().generation();
      break;
    case v1::GenerateEvent::kFailed:
      ended_ = event.failed().generation();
      break;
    case v1::GenerateEvent::kPreview:
      bar_.Clear();
      return previews_.Show(event.preview());
    case v1::GenerateEvent::EVENT_NOT_SET:
      break;
  }
  return absl::OkStatus();
}

void Follower::ShowProgress(const v1::GenerateEvent::Progress& progress) {
  const size_t output = static_cast<size_t>(std::clamp(progress.output_index(), 0, 1023));
  if (steps_done_.size() <= output) steps_done_.resize(output + 1);
  steps_done_[output] = progress.step();
  const int64_t done = std::accumulate(steps_done_.begin(), steps_done_.end(), int64_t{0});
  bar_.Update(done, std::max<int64_t>(steps_total_, progress.total_steps()),
              FromProto(progress.eta()));
}

int Follower::Conclude() {
  bar_.Clear();
  if (!ended_.has_value()) {
    return session_.output.Fail(Error(absl::StatusCode::kDataLoss, "STREAM_INCOMPLETE",
                                      "the stream ended before the generation did"));
  }
  if (ended_->state() != v1::Generation::STATE_SUCCEEDED) {
    absl::Status status = darkroom::FromProto(ended_->error());
    if (status.ok()) {
      status = Error(absl::StatusCode::kInternal, "GENERATION_FAILED", "the generation failed");
    }
    return session_.output.Fail(status);
  }
  if (ended_->has_end_time() && ended_->has_create_time()) {
    session_.output.Note(absl::StrFormat(
        "done in %.1f s, seed %d",
        absl::ToDoubleSeconds(FromProto(ended_->end_time()) - FromProto(ended_->create_time())),
        ended_->request().sampling().seed()));
  }
  if (!writes_) return 0;
  const auto paths = files_.Finish(*ended_);
  if (!paths.ok()) return session_.output.Fail(paths.status());
  if (session_.output.json()) {
    std::vector<std::string> quoted;
    for (const std::string& path : *paths) quoted.push_back(JsonString(path));
    session_.output.Line(absl::StrCat("{\"files\":[", absl::StrJoin(quoted, ","), "]}"));
  } else {
    for (const std::string& path : *paths) session_.output.Line(path);
  }
  return 0;
}

}  // namespace darkroom::cli
