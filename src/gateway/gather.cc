#include "gateway/gather.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gateway/limits.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

class OutputGatherer : public std::enable_shared_from_this<OutputGatherer> {
 public:
  OutputGatherer(Engine& engine, std::shared_ptr<Call> call, v1::Generation generation,
                 Callback<absl::StatusOr<v1::Generation>> reply)
      : engine_(engine),
        call_(std::move(call)),
        generation_(std::move(generation)),
        reply_(std::move(reply)) {}

  void ReadNext() {
    if (next_ == generation_.outputs_size()) return std::move(reply_)(std::move(generation_));
    engine_.ReadOutput(generation_.name(), generation_.outputs(next_).index(),
                       [self = shared_from_this()](absl::StatusOr<Payload> output) {
                         self->Add(std::move(output));
                       });
  }

 private:
  void Add(absl::StatusOr<Payload> output) {
    if (!output.ok()) return std::move(reply_)(output.status());
    v1::Generation::Output& target = *generation_.mutable_outputs(next_++);
    // The permit was for the sizes that the record tells.
    if (static_cast<int64_t>(output->size()) != target.size_bytes()) {
      return std::move(reply_)(absl::InternalError("an output's size is not the recorded one"));
    }
    target.set_data(output->bytes().data(), output->size());
    ReadNext();
  }

  Engine& engine_;
  const std::shared_ptr<Call> call_;  // holds the permit
  v1::Generation generation_;
  Callback<absl::StatusOr<v1::Generation>> reply_;
  int next_ = 0;
};

class PageGatherer : public std::enable_shared_from_this<PageGatherer> {
 public:
  PageGatherer(Engine& engine, GenerationStore::ListQuery query,
               Callback<absl::StatusOr<v1::ListGenerationsResponse>> reply)
      : engine_(engine),
        query_(std::move(query)),
        reply_(std::move(reply)),
        missing_(query_.page_size) {}

  void ReadNext() {
    query_.page_size = std::min(missing_, limits::kListPieceSize);
    engine_.ListGenerations(
        query_, [self = shared_from_this()](absl::StatusOr<GenerationStore::ListPage> page) {
          self->Add(std::move(page));
        });
  }

 private:
  void Add(absl::StatusOr<GenerationStore::ListPage> page) {
    if (!page.ok()) return std::move(reply_)(page.status());
    for (v1::Generation& generation : page->generations) {
      bytes_ += static_cast<int64_t>(generation.ByteSizeLong());
      --missing_;
      *response_.add_generations() = std::move(generation);
    }
    const bool last = page->next_page_token.empty() || page->generations.empty();
    query_.page_token = std::move(page->next_page_token);
    if (!last && missing_ > 0 && bytes_ < limits::kListReplyBytesMax) return ReadNext();
    response_.set_next_page_token(query_.page_token);
    std::move(reply_)(std::move(response_));
  }

  Engine& engine_;
  GenerationStore::ListQuery query_;
  Callback<absl::StatusOr<v1::ListGenerationsResponse>> reply_;
  v1::ListGenerationsResponse response_;
  int missing_;
  int64_t bytes_ = 0;
};

}  // namespace

void GatherOutputs(Engine& engine, Budget& budget, std::shared_ptr<Call> call,
                   v1::Generation generation, Callback<absl::StatusOr<v1::Generation>> reply) {
  int64_t bytes = 0;
  for (const auto& output : generation.outputs()) bytes += output.size_bytes();
  if (bytes > limits::kIncludedOutputsBytesMax) {
    return std::move(reply)(absl::Status(
        Error(absl::StatusCode::kFailedPrecondition, "OUTPUTS_TOO_LARGE",
              absl::StrCat("the outputs have ", bytes, " bytes; one reply may include ",
                           limits::kIncludedOutputsBytesMax, "; WatchGeneration streams them"))
            .Field("include_outputs", "must be false for outputs this large; nearest: false")));
  }
  auto permit = budget.TryTake(bytes);
  if (!permit) {
    return std::move(reply)(
        absl::Status(Error(absl::StatusCode::kResourceExhausted, "REPLIES_TOO_LARGE",
                           "too many replies with outputs are being sent; try again shortly")
                         .Quota("included_outputs",
                                absl::StrCat("at most ", limits::kIncludedOutputsBytesInFlightMax,
                                             " bytes of outputs in replies at once"))
                         .RetryAfter(absl::Milliseconds(limits::kRetryBusyMs))));
  }
  call->reply_bytes = *std::move(permit);
  std::make_shared<OutputGatherer>(engine, std::move(call), std::move(generation), std::move(reply))
      ->ReadNext();
}

void GatherPage(Engine& engine, GenerationStore::ListQuery query,
                Callback<absl::StatusOr<v1::ListGenerationsResponse>> reply) {
  std::make_shared<PageGatherer>(engine, std::move(query), std::move(reply))->ReadNext();
}

}  // namespace darkroom
