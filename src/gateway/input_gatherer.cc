#include "gateway/input_gatherer.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "gateway/reply_errors.h"
#include "gateway/validation_inputs.h"

namespace darkroom {
namespace {

PictureUse UseOf(const v1::InputImage& input) {
  if (input.role() != v1::INPUT_ROLE_MASK) return PictureUse::kImage;
  switch (input.polarity()) {
    case v1::MASK_POLARITY_BLACK_IS_PAINTED:
      return PictureUse::kMaskBlack;
    case v1::MASK_POLARITY_TRANSPARENT_IS_PAINTED:
      return PictureUse::kMaskTransparent;
    default:
      return PictureUse::kMaskWhite;
  }
}

// The error of one picture, with the field that it came in.
absl::Status Of(int index, const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  if (reason.empty() || !absl::IsInvalidArgument(status)) return status;
  const std::string message(status.message());
  return Error(status.code(), reason, absl::StrCat("inputs[", index, "]: ", message))
      .Field(absl::StrCat("inputs[", index, "]"), message);
}

class Gatherer : public std::enable_shared_from_this<Gatherer> {
 public:
  Gatherer(const PictureServices& services, const v1::Model& model, v1::GenerateRequest request,
           Engine::Submit submit, Callback<absl::StatusOr<Engine::Submit>> done)
      : services_(services),
        model_(model),
        request_(std::move(request)),
        submit_(std::move(submit)),
        done_(std::move(done)) {}

  void Next() {
    const auto index = static_cast<int>(pictures_.size());
    if (index == request_.inputs_size()) return Finish();
    v1::InputImage& input = *request_.mutable_inputs(index);
    if (input.has_data()) {
      const Payload bytes = Payload::Copy(input.data());
      input.clear_data();
      return Decode(bytes);
    }
    const auto name = AssetName::Parse(input.asset(), "asset");
    if (!name.ok() || name->tenant != submit_.tenant) {
      return std::move(done_)(AssetNotFound());
    }
    services_.assets->ReadAsset(name->tenant, name->sha256,
                                [self = shared_from_this()](absl::StatusOr<Payload> bytes) {
                                  if (!bytes.ok()) return std::move(self->done_)(bytes.status());
                                  self->Decode(*std::move(bytes));
                                });
  }

 private:
  void Decode(const Payload& bytes) {
    submit_.input_bytes.push_back(bytes);
    const v1::InputImage& input = request_.inputs(static_cast<int>(pictures_.size()));
    services_.decoder->Decode(bytes, UseOf(input),
                              [self = shared_from_this()](absl::StatusOr<Picture> picture) {
                                self->Decoded(std::move(picture));
                              });
  }

  void Decoded(absl::StatusOr<Picture> picture) {
    const auto index = static_cast<int>(pictures_.size());
    if (!picture.ok()) return std::move(done_)(Of(index, picture.status()));
    const bool is_mask = request_.inputs(index).role() == v1::INPUT_ROLE_MASK;
    (is_mask ? submit_.inputs.mask : submit_.inputs.init_image) = picture->pixels;
    pictures_.push_back(*std::move(picture));
    Next();
  }

  void Finish() {
    const absl::Status status = ResolvePictures(model_, pictures_, submit_.request);
    if (!status.ok()) return std::move(done_)(status);
    std::move(done_)(std::move(submit_));
  }

  const PictureServices services_;
  const v1::Model model_;
  v1::GenerateRequest request_;
  Engine::Submit submit_;
  Callback<absl::StatusOr<Engine::Submit>> done_;
  std::vector<Picture> pictures_;
};

}  // namespace

void GatherInputs(const PictureServices& services, const v1::Model& model,
                  v1::GenerateRequest request, Engine::Submit submit,
                  Callback<absl::StatusOr<Engine::Submit>> done) {
  if (request.inputs_size() == 0) return std::move(done)(std::move(submit));
  if (services.decoder == nullptr || services.assets == nullptr) {
    return std::move(done)(
        absl::Status(Error(absl::StatusCode::kUnimplemented, "PICTURES_UNSUPPORTED",
                           "this server takes no pictures")));
  }
  std::make_shared<Gatherer>(services, model, std::move(request), std::move(submit),
                             std::move(done))
      ->Next();
}

}  // namespace darkroom
