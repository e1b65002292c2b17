#include "main/cli/picture_batch.h"

#include <atomic>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sha256.h"
#include "main/limits.h"

namespace darkroom::cli {
namespace {

constexpr absl::Duration kInterruptPoll = absl::Milliseconds(5);

absl::Status DataLoss(const std::string& message) {
  return Error(absl::StatusCode::kDataLoss, "OUTPUT_DAMAGED", message);
}

absl::Status OnEvent(const v1::GenerateEvent& event, GeneratedPicture& picture) {
  if (event.has_output_chunk()) {
    const std::string& data = event.output_chunk().data();
    if (picture.bytes.size() + data.size() > kEvalPictureBytesMax) {
      return DataLoss(absl::StrCat("the picture has more than ", kEvalPictureBytesMax, " bytes"));
    }
    picture.bytes += data;
  }
  if (event.has_completed()) picture.generation = event.completed().generation();
  if (event.has_failed()) picture.generation = event.failed().generation();
  return absl::OkStatus();
}

// What is wrong with how it ended.
absl::Status CheckEnd(const GeneratedPicture& picture) {
  const v1::Generation& generation = picture.generation;
  if (generation.state() == v1::Generation::STATE_UNSPECIFIED) {
    return Error(absl::StatusCode::kDataLoss, "STREAM_INCOMPLETE",
                 "the stream ended before the generation did");
  }
  if (generation.state() != v1::Generation::STATE_SUCCEEDED) {
    const absl::Status status = darkroom::FromProto(generation.error());
    if (!status.ok()) return status;
    return Error(absl::StatusCode::kInternal, "GENERATION_FAILED", "the generation failed");
  }
  if (generation.outputs_size() != 1 ||
      Sha256Hex(picture.bytes) != generation.outputs(0).sha256()) {
    return DataLoss("the picture is not the one that the server made");
  }
  return absl::OkStatus();
}

void GenerateOne(Client& client, const v1::GenerateRequest& request, Canceller& canceller,
                 GeneratedPicture& picture) {
  const int64_t start_ns = Clock::Real().MonotonicNanos();
  picture.status = client.Generate(
      request, [&](const v1::GenerateEvent& event) { return OnEvent(event, picture); }, &canceller);
  picture.wall_seconds = static_cast<double>(Clock::Real().MonotonicNanos() - start_ns) * 1e-9;
  if (picture.status.ok()) picture.status = CheckEnd(picture);
  // Nobody else will ask for it; where this fails it expires.
  if (picture.status.ok()) client.DeleteGeneration(picture.generation.name()).IgnoreError();
}

}  // namespace

std::vector<GeneratedPicture> GeneratePictures(Client& client,
                                               absl::Span<const v1::GenerateRequest> requests,
                                               const Canceller& interrupt) {
  std::vector<GeneratedPicture> pictures(requests.size());
  std::vector<std::unique_ptr<Canceller>> cancellers;
  std::vector<std::thread> threads;
  std::atomic<size_t> running = requests.size();
  std::atomic<bool> failed = false;
  for (size_t i = 0; i < requests.size(); ++i) {
    cancellers.push_back(std::make_unique<Canceller>());
    threads.emplace_back([&, canceller = cancellers.back().get(), i] {
      GenerateOne(client, requests[i], *canceller, pictures[i]);
      if (!pictures[i].status.ok()) failed = true;
      --running;
    });
  }
  bool told = false;
  while (running > 0) {
    if (!told && (failed || interrupt.cancelled())) {
      for (const auto& canceller : cancellers) canceller->Cancel();
      told = true;
    }
    absl::SleepFor(kInterruptPoll);
  }
  for (std::thread& thread : threads) thread.join();
  return pictures;
}

}  // namespace darkroom::cli
