#include "base/error.h"

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(ErrorTest, KeepsEveryDetailThroughItsProto) {
  const absl::Status status = Error(absl::StatusCode::kInvalidArgument, "STEPS_OUT_OF_RANGE", "bad")
                                  .Field("sampling.steps", "1 to 1000; nearest: 1")
                                  .Field("width", "multiple of 8; nearest: 64")
                                  .RetryAfter(absl::Milliseconds(1500));
  const google::rpc::Status proto = ToProto(status);
  EXPECT_EQ(proto.details_size(), 3);
  const absl::Status back = FromProto(proto);
  EXPECT_EQ(back, status);
  EXPECT_EQ(ErrorReason(back), "STEPS_OUT_OF_RANGE");

  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  for (const auto& detail : proto.details()) {
    detail.UnpackTo(&bad_request);
    detail.UnpackTo(&retry);
  }
  ASSERT_EQ(bad_request.field_violations_size(), 2);
  EXPECT_EQ(bad_request.field_violations(1).field(), "width");
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
}

TEST(ErrorTest, ForeignStatusHasNoReason) {
  EXPECT_EQ(ErrorReason(absl::InternalError("x")), "");
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
}

}  // namespace
}  // namespace darkroom
