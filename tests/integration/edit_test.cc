// Pictures in, through real processes: what is uploaded or sent along, masks, previews, and what a
// kill -9 leaves of them. With the fake model, which takes pictures, and at the end with a tiny
// FLUX.1 and real pixels.

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "base/error.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/pictures.h"
#include "testing/png_reader.h"
#include "testing/temp_folder.h"

namespace darkroom::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr int kSize = 64;

class EditTest : public ::testing::Test {
 protected:
  EditTest() : daemon_(Options({})) { daemon_.Start(); }

  DaemonProcess::Options Options(std::map<std::string, std::string> environment) const {
    return {folder_.Path("fake"), folder_.Path("state"), true, {}, std::move(environment)};
  }
  Client& client() { return daemon_.client(); }

  static std::string Init() { return MakePng({kSize, kSize}); }
  // White where it is bright: a mask with both kinds of pixels.
  static std::string Mask() { return MakePng({kSize, kSize, PNG_COLOR_TYPE_GRAY}); }

  static v1::GenerateRequest Edit(const std::string& prompt = "a hat", bool mask = true) {
    v1::GenerateRequest request = PictureRequest(prompt, 0, 6, 11);
    request.mutable_sampling()->set_strength(0.5);
    v1::InputImage& init = *request.add_inputs();
    init.set_role(v1::INPUT_ROLE_INIT);
    init.set_data(Init());
    if (!mask) return request;
    v1::InputImage& where = *request.add_inputs();
    where.set_role(v1::INPUT_ROLE_MASK);
    where.set_polarity(v1::MASK_POLARITY_WHITE_IS_PAINTED);
    where.set_data(Mask());
    return request;
  }

  DecodedPng OutputOf(const v1::Generation& generation) {
    const auto whole = client().GetGeneration(generation.name(), true);
    EXPECT_TRUE(whole.ok()) << whole.status();
    const auto png = DecodePng(whole->outputs(0).data());
    EXPECT_TRUE(png.ok()) << png.status();
    return *png;
  }

  std::string ReasonOf(const v1::GenerateRequest& request) {
    return ErrorReason(client().CreateGeneration(request).status());
  }

  TempFolder folder_;
  DaemonProcess daemon_;
};

TEST_F(EditTest, KeepsExactlyWhatTheMaskKeeps) {
  const auto generation = GenerateAndWait(client(), Edit());
  ASSERT_TRUE(generation.ok()) << generation.status() << daemon_.log();
  ASSERT_EQ(generation->state(), v1::Generation::STATE_SUCCEEDED) << generation->error().message();
  EXPECT_EQ(generation->request().task(), v1::TASK_INPAINT);
  EXPECT_EQ(generation->request().width(), kSize) << "the picture's own size";
  EXPECT_EQ(generation->steps_total(), 3) << "half of 6";
  EXPECT_EQ(generation->steps_done(), 3);
  const DecodedPng out = OutputOf(*generation);
  const auto init = DecodePng(Init());
  const auto mask = DecodePng(Mask());
  ASSERT_TRUE(init.ok());
  int kept = 0;
  int painted = 0;
  for (size_t i = 0; i < size_t{kSize} * kSize; ++i) {
    // The mask is grey, MakePng's own bytes.
    const bool is_painted = i * 7 % 251 >= 128;
    if (is_painted) {
      painted += out.rgb[3 * i] != init->rgb[3 * i] ? 1 : 0;
    } else {
      ++kept;
      for (size_t c = 0; c < 3; ++c) ASSERT_EQ(out.rgb[3 * i + c], init->rgb[3 * i + c]) << i;
    }
  }
  EXPECT_GT(kept, 1000);
  EXPECT_GT(painted, 1000);
  EXPECT_THAT(out.texts, Contains(Pair("init_sha256", Sha256Hex(Init()))));
  EXPECT_THAT(out.texts, Contains(Pair("mask_sha256", Sha256Hex(Mask()))));
  EXPECT_THAT(out.texts, Contains(Pair("strength", "0.5")));
  EXPECT_THAT(out.texts, Contains(Pair("mask_polarity", "white")));
}

TEST_F(EditTest, WithoutOverlayTheModelsOwnRenderingComesBack) {
  v1::GenerateRequest request = Edit();
  request.set_mask_overlay(false);
  const auto generation = GenerateAndWait(client(), request);
  ASSERT_TRUE(generation.ok()) << generation.status();
  const DecodedPng out = OutputOf(*generation);
  const auto init = DecodePng(Init());
  EXPECT_NE(out.rgb, init->rgb);
  int same = 0;
  for (size_t i = 0; i < out.rgb.size(); ++i) same += out.rgb[i] == init->rgb[i] ? 1 : 0;
  EXPECT_LT(same, static_cast<int>(out.rgb.size()) / 10);
}

TEST_F(EditTest, TheRecordNamesPicturesAndHoldsNone) {
  const auto generation = client().CreateGeneration(Edit());
  ASSERT_TRUE(generation.ok()) << generation.status();
  ASSERT_EQ(generation->request().inputs_size(), 2);
  EXPECT_EQ(generation->request().inputs(0).sha256(), Sha256Hex(Init()));
  EXPECT_FALSE(generation->request().inputs(0).has_data());
}

TEST_F(EditTest, BrokenPicturesAreRefusedAtOnce) {
  v1::GenerateRequest request = Edit();
  request.mutable_inputs(0)->set_data(Init().substr(0, 100));
  const auto broken = client().CreateGeneration(request);
  EXPECT_EQ(ErrorReason(broken.status()), "PICTURE_BROKEN");
  EXPECT_THAT(std::string(broken.status().message()), HasSubstr("inputs[0]"));
  request = Edit();
  request.mutable_inputs(1)->set_data(MakePng({32, 32}));
  const auto other = client().CreateGeneration(request);
  EXPECT_EQ(ErrorReason(other.status()), "INPUT_SIZE_MISMATCH");
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("64 by 64"));
  request = Edit("a hat", false);
  request.mutable_inputs(0)->set_data(MakePng({50, 61}));
  const auto odd = client().CreateGeneration(request);
  EXPECT_EQ(ErrorReason(odd.status()), "INPUT_SIZE_INVALID");
  EXPECT_THAT(std::string(odd.status().message()), HasSubstr("nearest: 48 by 64"));
  request = Edit();
  request.mutable_inputs(1)->set_polarity(v1::MASK_POLARITY_TRANSPARENT_IS_PAINTED);
  EXPECT_EQ(ReasonOf(request), "MASK_WITHOUT_ALPHA");
}

TEST_F(EditTest, PreviewsComeWhileItRuns) {
  v1::GenerateRequest request = PictureRequest("a hat", kSize, 9, 3);
  request.mutable_preview()->set_every_n_steps(2);
  request.mutable_preview()->set_size_max(32);
  // Slow enough that no preview is overtaken by a newer one.
  request.set_prompt("slow@3 slow@5 a hat");
  std::vector<int> steps;
  const absl::Status status = client().Generate(
      request,
      [&](const v1::GenerateEvent& event) {
        if (!event.has_preview()) return absl::OkStatus();
        steps.push_back(event.preview().step());
        const auto png = DecodePng(event.preview().data());
        EXPECT_TRUE(png.ok()) << png.status();
        EXPECT_EQ(png->width, 32);
        return absl::OkStatus();
      },
      nullptr);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_FALSE(steps.empty());
  for (const int step : steps) EXPECT_EQ(step % 2, 0);
  EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
}

TEST_F(EditTest, AnAssetIsTheSamePictureAsItsBytes) {
  const auto asset = client().UploadAsset(Init());
  ASSERT_TRUE(asset.ok()) << asset.status();
  EXPECT_EQ(asset->sha256(), Sha256Hex(Init()));
  EXPECT_EQ(asset->width(), kSize);
  EXPECT_EQ(asset->media_type(), "image/png");
  EXPECT_EQ(client().UploadAsset(Init())->name(), asset->name());
  EXPECT_EQ(*client().DownloadAsset(asset->name()), Init());
  EXPECT_EQ(client().ListAssets({})->assets_size(), 1);

  v1::GenerateRequest by_asset = Edit();
  by_asset.mutable_inputs(0)->set_asset(asset->name());
  by_asset.set_request_id("123e4567-e89b-12d3-a456-426614174000");
  const auto first = GenerateAndWait(client(), by_asset);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = GenerateAndWait(client(), Edit());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(OutputOf(*first).rgb, OutputOf(*second).rgb);
  // The same picture another way is the same request.
  v1::GenerateRequest by_bytes = Edit();
  by_bytes.set_request_id(by_asset.request_id());
  EXPECT_EQ(client().CreateGeneration(by_bytes)->name(), first->name());
}

TEST_F(EditTest, ForeignAndMissingAssetsLookAlike) {
  const std::string digest(64, 'a');
  const auto missing = client().GetAsset("tenants/local/assets/" + digest);
  const auto foreign = client().GetAsset("tenants/other/assets/" + digest);
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_EQ(ToProto(missing.status()).SerializeAsString(),
            ToProto(foreign.status()).SerializeAsString());
  v1::GenerateRequest request = Edit();
  request.mutable_inputs(0)->set_asset("tenants/local/assets/" + digest);
  EXPECT_EQ(ReasonOf(request), "ASSET_NOT_FOUND");
  request.mutable_inputs(0)->set_asset("tenants/other/assets/" + digest);
  EXPECT_EQ(ReasonOf(request), "ASSET_NOT_FOUND");
}

TEST_F(EditTest, UploadsThatAreNoPicturesLeaveNothing) {
  EXPECT_EQ(ErrorReason(client().UploadAsset("GIF89a").status()), "PICTURE_FORMAT_UNKNOWN");
  EXPECT_EQ(ErrorReason(client().UploadAsset("").status()), "PICTURE_EMPTY");
  EXPECT_EQ(ErrorReason(client().UploadAsset(std::string(33 << 20, 'x')).status()),
            "UPLOAD_TOO_LARGE");
  EXPECT_EQ(client().ListAssets({})->assets_size(), 0);
}

// What was acknowledged must come to its end with the same bits, whatever becomes of the daemon and
// of the assets.
TEST_F(EditTest, AcceptedPicturesSurviveAKillAndTheirAssetsEnd) {
  const auto undisturbed = GenerateAndWait(client(), Edit("slow@0 slow@1 slow@2 a hat"));
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
  const auto asset = client().UploadAsset(Init());
  ASSERT_TRUE(asset.ok());
  v1::GenerateRequest request = Edit("slow@0 slow@1 slow@2 a hat");
  request.mutable_inputs(0)->set_asset(asset->name());
  std::vector<std::string> names;
  for (int i = 0; i < 3; ++i) {
    const auto generation = client().CreateGeneration(request);
    ASSERT_TRUE(generation.ok()) << generation.status();
    names.push_back(generation->name());
  }
  ASSERT_TRUE(client().DeleteAsset(asset->name()).ok());
  daemon_.Kill();
  daemon_.Start();
  EXPECT_EQ(client().ListAssets({})->assets_size(), 0);
  for (const std::string& name : names) {
    absl::StatusOr<v1::Generation> generation = client().GetGeneration(name, false);
    const absl::Time give_up = absl::Now() + absl::Seconds(60);
    while (generation.ok() && generation->state() < v1::Generation::STATE_SUCCEEDED &&
           absl::Now() < give_up) {
      absl::SleepFor(absl::Milliseconds(20));
      generation = client().GetGeneration(name, false);
    }
    ASSERT_TRUE(generation.ok()) << generation.status();
    ASSERT_EQ(generation->state(), v1::Generation::STATE_SUCCEEDED)
        << generation->error().message();
    EXPECT_EQ(OutputOf(*generation).rgb, OutputOf(*undisturbed).rgb);
  }
}

TEST_F(EditTest, AnAssetThatWasAcknowledgedSurvivesAKill) {
  for (int round = 0; round < 3; ++round) {
    const std::string png = MakePng({16 + round, 16});
    const auto asset = client().UploadAsset(png);
    ASSERT_TRUE(asset.ok()) << asset.status();
    daemon_.Kill();
    daemon_.Start();
    const auto bytes = client().DownloadAsset(asset->name());
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, png);
  }
  EXPECT_EQ(client().ListAssets({})->assets_size(), 3);
}

// ---- FLUX.1, tiny, its weights random: pictures mean nothing, but every tensor is real ----

class FluxEditTest : public ::testing::Test {
 protected:
  static constexpr int kSide = 48;

  FluxEditTest()
      : daemon_({DARKROOM_SOURCE_DIR "/tests/golden/fixtures/flux_dev/model",
                 folder_.Path("state"),
                 false,
                 {"--checkpoint-steps", "5"},
                 {}}) {
    daemon_.Start();
  }

  static v1::GenerateRequest Edit(int steps, double strength, bool mask) {
    v1::GenerateRequest request = PictureRequest("a red hat", 0, steps, 11, 3.5);
    request.mutable_sampling()->set_strength(strength);
    v1::InputImage& init = *request.add_inputs();
    init.set_role(v1::INPUT_ROLE_INIT);
    init.set_data(MakePng({kSide, kSide}));
    if (!mask) return request;
    v1::InputImage& where = *request.add_inputs();
    where.set_role(v1::INPUT_ROLE_MASK);
    where.set_polarity(v1::MASK_POLARITY_BLACK_IS_PAINTED);
    where.set_data(MakePng({kSide, kSide, PNG_COLOR_TYPE_GRAY}));
    return request;
  }

  // The SHA-256 of its one picture.
  static std::string Sha256Of(const absl::StatusOr<v1::Generation>& generation) {
    EXPECT_TRUE(generation.ok()) << generation.status();
    if (!generation.ok()) return "";
    EXPECT_EQ(generation->state(), v1::Generation::STATE_SUCCEEDED)
        << generation->error().message();
    return generation->outputs_size() == 1 ? generation->outputs(0).sha256() : "";
  }

  TempFolder folder_;
  DaemonProcess daemon_;
};

TEST_F(FluxEditTest, TheMaskKeepsWhatItKeepsAndTheRestIsPainted) {
  const auto generation = GenerateAndWait(daemon_.client(), Edit(6, 0.8, true));
  ASSERT_NE(Sha256Of(generation), "") << daemon_.log();
  const auto whole = daemon_.client().GetGeneration(generation->name(), true);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto out = DecodePng(whole->outputs(0).data());
  const auto init = DecodePng(MakePng({kSide, kSide}));
  ASSERT_TRUE(out.ok() && init.ok());
  int painted = 0;
  for (size_t i = 0; i < size_t{kSide} * kSide; ++i) {
    const bool same = std::equal(&out->rgb[3 * i], &out->rgb[3 * i] + 3, &init->rgb[3 * i]);
    if (i * 7 % 251 < 128) {
      painted += same ? 0 : 1;
    } else {
      ASSERT_TRUE(same) << "pixel " << i;
    }
  }
  EXPECT_GT(painted, 1000);
  EXPECT_THAT(out->texts, Contains(Pair("sampler", "flow_match_euler")));
}

TEST_F(FluxEditTest, StrengthDecidesHowMuchIsMadeAnew) {
  const auto little = GenerateAndWait(daemon_.client(), Edit(8, 0.25, false));
  const auto all = GenerateAndWait(daemon_.client(), Edit(8, 1.0, false));
  EXPECT_NE(Sha256Of(little), Sha256Of(all));
  EXPECT_EQ(little->steps_total(), 2);
  EXPECT_EQ(all->steps_total(), 8);
  v1::GenerateRequest heun = Edit(8, 0.5, false);
  heun.mutable_sampling()->set_sampler("flow_match_heun");
  heun.mutable_sampling()->set_true_cfg_scale(2);
  heun.set_negative_prompt("blue");
  heun.mutable_sampling()->set_noise_dtype(v1::NOISE_DTYPE_BF16);
  const auto second_order = GenerateAndWait(daemon_.client(), heun);
  EXPECT_NE(Sha256Of(second_order), "");
  EXPECT_EQ(second_order->steps_total(), 7) << "two evaluations a step but the last";
}

TEST_F(FluxEditTest, TheSameBitsInCompanyAndAfterALostWorker) {
  const std::string alone = Sha256Of(GenerateAndWait(daemon_.client(), Edit(200, 0.9, true)));
  std::vector<std::string> names;
  for (int i = 0; i < 4; ++i) {
    v1::GenerateRequest request = Edit(200, 0.9, true);
    if (i % 2 == 1) {
      request.set_prompt("somebody else's");
      request.mutable_inputs()->DeleteSubrange(1, 1);
    }
    const auto made = daemon_.client().CreateGeneration(request);
    ASSERT_TRUE(made.ok()) << made.status();
    names.push_back(made->name());
  }
  // Somewhere in the middle.
  const absl::Time give_up = absl::Now() + absl::Seconds(60);
  while (daemon_.client().GetGeneration(names[0], false)->steps_done() < 20 &&
         absl::Now() < give_up) {
    absl::SleepFor(absl::Milliseconds(2));
  }
  ASSERT_TRUE(daemon_.KillWorker());
  for (size_t i = 0; i < names.size(); i += 2) {
    auto ended = daemon_.client().GetGeneration(names[i], false);
    while (ended.ok() && ended->state() < v1::Generation::STATE_SUCCEEDED &&
           absl::Now() < give_up + absl::Seconds(60)) {
      absl::SleepFor(absl::Milliseconds(10));
      ended = daemon_.client().GetGeneration(names[i], false);
    }
    EXPECT_EQ(Sha256Of(ended), alone);
    EXPECT_EQ(ended->usage().retries(), 1) << "the worker died too late to matter";
  }
}

TEST_F(FluxEditTest, PreviewsShowThePictureOnItsWay) {
  v1::GenerateRequest request = Edit(12, 1.0, false);
  request.mutable_preview()->set_every_n_steps(3);
  request.mutable_preview()->set_size_max(16);
  int seen = 0;
  const absl::Status status = daemon_.client().Generate(
      request,
      [&](const v1::GenerateEvent& event) {
        if (!event.has_preview()) return absl::OkStatus();
        ++seen;
        const auto png = DecodePng(event.preview().data());
        EXPECT_TRUE(png.ok()) << png.status();
        EXPECT_LE(std::max(png->width, png->height), 16);
        EXPECT_EQ(event.preview().step() % 3, 0);
        return absl::OkStatus();
      },
      nullptr);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_GT(seen, 0);
}

}  // namespace
}  // namespace darkroom::testing
