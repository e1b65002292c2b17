#include "gateway/upload.h"

#include <string>

#include "base/error.h"
#include "base/sha256.h"
#include "gateway/limits.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

constexpr int64_t kMax = 100;

class UploadTest : public ::testing::Test {
 protected:
  static v1::UploadAssetRequest Metadata(int64_t size = 0, const std::string& sha256 = "") {
    v1::UploadAssetRequest message;
    message.mutable_metadata()->set_size_bytes(size);
    message.mutable_metadata()->set_sha256(sha256);
    return message;
  }
  static v1::UploadAssetRequest Data(const std::string& bytes) {
    v1::UploadAssetRequest message;
    message.set_data(bytes);
    return message;
  }
  std::string Reason(const v1::UploadAssetRequest& message) {
    const absl::Status status = upload_.Add(message);
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    return ErrorReason(status);
  }

  Budget in_flight_{2 * kMax};
  Upload upload_{in_flight_, kMax};
};

TEST_F(UploadTest, PiecesBecomeTheWhole) {
  ASSERT_TRUE(upload_.Add(Metadata(6, Sha256Hex("abcdef"))).ok());
  ASSERT_TRUE(upload_.Add(Data("abc")).ok());
  ASSERT_TRUE(upload_.Add(Data("")).ok());
  ASSERT_TRUE(upload_.Add(Data("def")).ok());
  const auto whole = upload_.Finish();
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(*whole, "abcdef");
}

TEST_F(UploadTest, MetadataComesFirstAndOnce) {
  EXPECT_EQ(Reason(Data("abc")), "UPLOAD_OUT_OF_ORDER");
  EXPECT_EQ(Reason({}), "UPLOAD_OUT_OF_ORDER");
  EXPECT_EQ(Reason(Metadata()), "");
  EXPECT_EQ(Reason(Metadata()), "UPLOAD_OUT_OF_ORDER");
  EXPECT_EQ(Reason({}), "UPLOAD_OUT_OF_ORDER");
  Upload silent(in_flight_, kMax);
  EXPECT_EQ(ErrorReason(silent.Finish().status()), "UPLOAD_OUT_OF_ORDER");
}

TEST_F(UploadTest, SizesAreBoundBeforeAndWhile) {
  EXPECT_EQ(Reason(Metadata(-1)), "UPLOAD_SIZE_INVALID");
  EXPECT_EQ(Reason(Metadata(kMax + 1)), "UPLOAD_TOO_LARGE");
  EXPECT_EQ(Reason(Metadata(INT64_MAX)), "UPLOAD_TOO_LARGE");
  EXPECT_EQ(Reason(Metadata()), "") << "a refused one is no metadata yet";
  EXPECT_EQ(Reason(Data(std::string(kMax, 'x'))), "");
  EXPECT_EQ(Reason(Data("x")), "UPLOAD_TOO_LARGE");
  Upload wide(in_flight_, int64_t{8} << 20);
  EXPECT_EQ(ErrorReason(wide.Add(Metadata(10))), "");
  EXPECT_EQ(ErrorReason(wide.Add(Data(std::string(gateway_limits::kUploadPieceBytesMax + 1, 'x')))),
            "UPLOAD_PIECE_TOO_LARGE");
  EXPECT_EQ(ErrorReason(wide.Add(Data(std::string(11, 'x')))), "UPLOAD_SIZE_MISMATCH");
}

TEST_F(UploadTest, WhatIsAnnouncedMustCome) {
  ASSERT_TRUE(upload_.Add(Metadata(6)).ok());
  ASSERT_TRUE(upload_.Add(Data("abc")).ok());
  EXPECT_EQ(ErrorReason(upload_.Finish().status()), "UPLOAD_SIZE_MISMATCH");
  Upload other(in_flight_, kMax);
  ASSERT_TRUE(other.Add(Metadata(0, Sha256Hex("abc"))).ok());
  ASSERT_TRUE(other.Add(Data("abd")).ok());
  EXPECT_EQ(ErrorReason(other.Finish().status()), "UPLOAD_DIGEST_MISMATCH");
  Upload nonsense(in_flight_, kMax);
  EXPECT_EQ(ErrorReason(nonsense.Add(Metadata(0, "ABC"))), "UPLOAD_DIGEST_INVALID");
}

TEST_F(UploadTest, AllTogetherAreBound) {
  ASSERT_TRUE(upload_.Add(Metadata(40)).ok());
  EXPECT_EQ(in_flight_.taken(), 40);
  {
    Upload unknown(in_flight_, kMax);
    ASSERT_TRUE(unknown.Add(Metadata()).ok());
    EXPECT_EQ(in_flight_.taken(), 140) << "one that does not say may become the largest";
    Upload late(in_flight_, kMax);
    const absl::Status busy = late.Add(Metadata(61));
    EXPECT_TRUE(absl::IsResourceExhausted(busy));
    EXPECT_EQ(ErrorReason(busy), "UPLOADS_TOO_LARGE");
    EXPECT_TRUE(late.Add(Metadata(60)).ok());
  }
  EXPECT_EQ(in_flight_.taken(), 40) << "a broken upload gives back what it had";
}

}  // namespace
}  // namespace darkroom
