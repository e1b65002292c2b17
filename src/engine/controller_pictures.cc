// The controller's part that concerns pictures: those that jobs start from, and previews of those
// that they make.

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/controller.h"
#include "engine/limits.h"
#include "ipc/tensor_ref.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {
namespace {

int64_t InputWeight(const JobInputs& inputs) {
  int64_t weight = 0;
  for (const Payload* picture : {&inputs.init_image, &inputs.mask}) {
    if (picture->empty()) continue;
    weight += std::max(static_cast<int64_t>(picture->size()), kInputBytesEachMin);
  }
  return weight;
}

// The picture may be decoded another time: it is not what was wrong.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

}  // namespace

absl::Status Controller::CheckInputs(const JobInputs& inputs) const {
  if (InputWeight(inputs) <= kInputBytesMax - input_bytes_) return absl::OkStatus();
  return Error(absl::StatusCode::kResourceExhausted, "INPUTS_FULL",
               "the pictures of the generations that wait or run fill the memory that the server "
               "has for them; try again when some have ended")
      .Quota("input_bytes", absl::StrCat("at most ", kInputBytesMax, " bytes of decoded pictures"))
      .RetryAfter(absl::Seconds(1));
}

void Controller::HoldInputs(GenerationRecord& record, JobInputs inputs) {
  input_bytes_ += InputWeight(inputs);
  record.inputs = std::move(inputs);
}

void Controller::ReleaseInputs(GenerationRecord& record) {
  input_bytes_ -= InputWeight(record.inputs);
  record.inputs = {};
}

void Controller::OrderPreparations(Now now, Commands& commands) {
  for (std::string& name : preparations_.Next(now.mono_ns)) {
    const GenerationRecord* record = FindLive(name);
    if (record == nullptr || record->ended) {
      preparations_.Done();
      continue;
    }
    commands.push_back(PrepareInputs{std::move(name), record->generation.request()});
  }
}

void Controller::On(InputsPrepared event, Now now, Commands& commands) {
  if (MayPass(event.status)) {
    spdlog::warn("pictures of {} cannot be decoded now: {}", event.name,
                 std::string(event.status.message()));
    return preparations_.Again(std::move(event.name), now.mono_ns);
  }
  preparations_.Done();
  GenerationRecord* record = FindLive(event.name);
  if (record != nullptr && !record->ended) {
    record->awaits_inputs = false;
    if (event.status.ok()) {
      // Past the bound if need be: it was within it when it was accepted.
      HoldInputs(*record, std::move(event.inputs));
      SubmitJobs(*record, now, commands);
    } else {
      Fail(*record, event.status, now, commands);
    }
  }
  OrderPreparations(now, commands);
}

void Controller::OrderPreview(const JobRecord& job, const v1::TensorRef& preview,
                              const std::vector<Payload>& attachments, Commands& commands) {
  // Nothing of a job depends on its previews: a bad one is left out.
  auto pixels = ReadTensor(preview, attachments);
  if (!pixels.ok() || preview.shape_size() != 3 || preview.shape(2) != 3 ||
      preview.dtype() != v1::DTYPE_U8) {
    spdlog::warn("a worker returned a preview that is no picture");
    return;
  }
  commands.push_back(EncodePreview{job.generation, job.output_index, job.steps_done,
                                   *std::move(pixels), static_cast<int32_t>(preview.shape(1)),
                                   static_cast<int32_t>(preview.shape(0))});
}

void Controller::On(PreviewEncoded event, Now now, Commands& commands) {
  GenerationRecord* record = FindLive(event.generation);
  // As progress: nothing may overtake a state change that is on its way to the store.
  if (record == nullptr || record->ended || record->writes_pending > 0) return;
  v1::GenerateEvent shown = NewEvent(*record, now);
  v1::GenerateEvent::Preview& preview = *shown.mutable_preview();
  preview.set_output_index(event.output_index);
  preview.set_step(event.step);
  preview.set_media_type("image/png");
  preview.set_data(std::move(event.png));
  commands.push_back(
      Publish{event.generation, std::make_shared<v1::GenerateEvent>(std::move(shown)), true});
}

}  // namespace darkroom::engine
