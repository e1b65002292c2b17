#include "gateway/input_gatherer.h"

#include <future>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_engine.h"

namespace darkroom {
namespace {

using ::darkroom::testing::FakeEngine;
using ::testing::ElementsAre;
using ::testing::StartsWith;

// "512x256" is a picture of that size; its pixels are its own text.
class FakeDecoder final : public PictureDecoder {
 public:
  void Decode(Payload bytes, PictureUse use, Done done) override {
    uses.push_back(use);
    std::thread([bytes = std::move(bytes), done = std::move(done)]() mutable {
      const std::string text(bytes.bytes());
      int width = 0;
      int height = 0;
      if (std::sscanf(text.c_str(), "%dx%d", &width, &height) != 2) {
        return std::move(done)(absl::Status(
            Error(absl::StatusCode::kInvalidArgument, "PICTURE_BROKEN", "the picture is broken")));
      }
      std::move(done)(Picture{"image/png", width, height, false, bytes});
    }).join();
  }
  std::vector<PictureUse> uses;
};

class FakeAssets final : public Assets {
 public:
  void UploadAsset(const std::string&, Payload, Done<absl::StatusOr<v1::Asset>> done) override {
    std::move(done)(absl::UnimplementedError(""));
  }
  void GetAsset(const std::string&, const std::string&,
                Done<absl::StatusOr<v1::Asset>> done) override {
    std::move(done)(absl::UnimplementedError(""));
  }
  void ListAssets(const AssetStore::ListQuery&,
                  Done<absl::StatusOr<AssetStore::ListPage>> done) override {
    std::move(done)(absl::UnimplementedError(""));
  }
  void ReadAsset(const std::string& tenant, const std::string& sha256,
                 Done<absl::StatusOr<Payload>> done) override {
    reads.push_back(tenant);
    const auto found = kept.find(sha256);
    if (found == kept.end()) {
      return std::move(done)(absl::Status(
          Error(absl::StatusCode::kNotFound, "ASSET_NOT_FOUND", "there is no such asset")));
    }
    std::move(done)(Payload::Copy(found->second));
  }
  void DeleteAsset(const std::string&, const std::string&, Done<absl::Status> done) override {
    std::move(done)(absl::UnimplementedError(""));
  }
  std::map<std::string, std::string> kept;
  std::vector<std::string> reads;
};

class InputGathererTest : public ::testing::Test {
 protected:
  absl::StatusOr<Engine::Submit> Gather(const v1::GenerateRequest& request,
                                        PictureServices services) {
    Engine::Submit submit;
    submit.tenant = "local";
    submit.request = request;
    for (v1::InputImage& input : *submit.request.mutable_inputs()) input.clear_source();
    std::promise<absl::StatusOr<Engine::Submit>> promise;
    GatherInputs(
        services, FakeEngine::Flux(), request, std::move(submit),
        [&](absl::StatusOr<Engine::Submit> gathered) { promise.set_value(std::move(gathered)); });
    return promise.get_future().get();
  }
  absl::StatusOr<Engine::Submit> Gather(const v1::GenerateRequest& request) {
    return Gather(request, {&assets_, &decoder_});
  }
  static void Add(v1::GenerateRequest& request, v1::InputRole role, const std::string& data) {
    v1::InputImage& input = *request.add_inputs();
    input.set_role(role);
    input.set_data(data);
    if (role == v1::INPUT_ROLE_MASK) input.set_polarity(v1::MASK_POLARITY_BLACK_IS_PAINTED);
  }

  FakeAssets assets_;
  FakeDecoder decoder_;
};

TEST_F(InputGathererTest, WithoutPicturesNothingIsAsked) {
  EXPECT_TRUE(Gather({}, {}).ok());
  v1::GenerateRequest request;
  Add(request, v1::INPUT_ROLE_INIT, "512x512");
  const absl::Status none = Gather(request, {}).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ErrorReason(none), "PICTURES_UNSUPPORTED");
}

TEST_F(InputGathererTest, BytesAndPixelsGoWithTheSubmission) {
  v1::GenerateRequest request;
  Add(request, v1::INPUT_ROLE_MASK, "512x256 mask");
  Add(request, v1::INPUT_ROLE_INIT, "512x256 init");
  const auto submit = Gather(request);
  ASSERT_TRUE(submit.ok()) << submit.status();
  EXPECT_EQ(submit->request.width(), 512);
  EXPECT_EQ(submit->request.height(), 256);
  ASSERT_EQ(submit->input_bytes.size(), 2u);
  EXPECT_EQ(submit->input_bytes[0].bytes(), "512x256 mask") << "in the order of the inputs";
  EXPECT_EQ(submit->inputs.init_image.bytes(), "512x256 init");
  EXPECT_EQ(submit->inputs.mask.bytes(), "512x256 mask");
  EXPECT_THAT(decoder_.uses, ElementsAre(PictureUse::kMaskBlack, PictureUse::kImage));
}

TEST_F(InputGathererTest, AssetsAreReadForTheCallersTenantAlone) {
  const std::string sha256 = Sha256Hex("x");
  assets_.kept[sha256] = "256x256";
  v1::GenerateRequest request;
  Add(request, v1::INPUT_ROLE_INIT, "");
  request.mutable_inputs(0)->set_asset("tenants/local/assets/" + sha256);
  EXPECT_EQ(Gather(request)->inputs.init_image.bytes(), "256x256");
  EXPECT_THAT(assets_.reads, ElementsAre("local"));
  request.mutable_inputs(0)->set_asset("tenants/other/assets/" + sha256);
  const absl::Status foreign = Gather(request).status();
  EXPECT_EQ(ErrorReason(foreign), "ASSET_NOT_FOUND");
  EXPECT_THAT(assets_.reads, ElementsAre("local")) << "nobody was asked";
}

TEST_F(InputGathererTest, ErrorsNameThePicture) {
  v1::GenerateRequest request;
  Add(request, v1::INPUT_ROLE_INIT, "512x512");
  Add(request, v1::INPUT_ROLE_MASK, "nonsense");
  absl::Status status = Gather(request).status();
  EXPECT_EQ(ErrorReason(status), "PICTURE_BROKEN");
  EXPECT_THAT(std::string(status.message()), StartsWith("inputs[1]: "));
  request.mutable_inputs(1)->set_data("512x256");
  status = Gather(request).status();
  EXPECT_EQ(ErrorReason(status), "INPUT_SIZE_MISMATCH");
  EXPECT_THAT(std::string(status.message()), StartsWith("inputs[1] "));
}

}  // namespace
}  // namespace darkroom
