#include "engine/admission.h"

#include <string>

#include "base/error.h"
#include "base/wall_time.h"
#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

using scheduler::JobRefused;
using scheduler::Refusal;
using scheduler::ServiceClass;

const Now kNow{1'000'000'000, absl::FromUnixSeconds(1'700'000'000)};

v1::AdmissionOffer OfferOf(const absl::Status& status) {
  v1::AdmissionOffer offer;
  const auto payload = status.GetPayload("type.googleapis.com/darkroom.v1.AdmissionOffer");
  if (payload) {
    EXPECT_TRUE(offer.ParseFromString(std::string(*payload)));
  }
  return offer;
}

TEST(AdmissionTest, ARequestAsksForAtMostItsTenantsClass) {
  TenantPolicy policy;
  policy.service_class = ServiceClass::kTarget;
  v1::GenerateRequest request;
  EXPECT_EQ(ClassOf(request, policy), ServiceClass::kTarget);
  EXPECT_TRUE(CheckClass(request, policy).ok());
  request.set_service_class(v1::SERVICE_CLASS_BEST_EFFORT);
  EXPECT_EQ(ClassOf(request, policy), ServiceClass::kBestEffort);
  EXPECT_TRUE(CheckClass(request, policy).ok());
  request.set_service_class(v1::SERVICE_CLASS_GUARANTEED);
  EXPECT_EQ(CheckClass(request, policy).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ErrorReason(CheckClass(request, policy)), "SERVICE_CLASS_NOT_ALLOWED");
}

TEST(AdmissionTest, DeadlinesAreOnTheMonotonicClock) {
  v1::GenerateRequest request;
  EXPECT_EQ(DeadlineOf(request, kNow), scheduler::kNoDeadline);
  *request.mutable_deadline() = ToTimestamp(kNow.wall + absl::Milliseconds(1500));
  EXPECT_EQ(DeadlineOf(request, kNow), 2'500'000'000);
  *request.mutable_deadline() = ToTimestamp(kNow.wall - absl::Seconds(10));
  EXPECT_EQ(DeadlineOf(request, kNow), -9'000'000'000);
}

TEST(AdmissionTest, EveryRefusalHasAReason) {
  for (int why = 0; why <= static_cast<int>(Refusal::kTenantRemoved); ++why) {
    const absl::Status status = RefusalStatus({1, static_cast<Refusal>(why)}, 2'000'000'000, kNow);
    EXPECT_FALSE(status.ok());
    EXPECT_NE(ErrorReason(status), "");
  }
}

TEST(AdmissionTest, ARefusedGuaranteeOffersALaterOne) {
  JobRefused refused{1, Refusal::kNoGuarantee};
  refused.offered_deadline_ns = 5'000'000'000;
  const absl::Status status = RefusalStatus(refused, 2'000'000'000, kNow);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), "NO_GUARANTEE");
  EXPECT_EQ(FromTimestamp(OfferOf(status).earliest_deadline()), kNow.wall + absl::Seconds(4));
  EXPECT_EQ(std::string(status.message()),
            "this deadline cannot be guaranteed beside what was promised before; the earliest that "
            "would be accepted now is 2023-11-14T22:13:24.000Z");
}

TEST(AdmissionTest, ADeadlineOutOfReachOffersFewerSteps) {
  JobRefused refused{1, Refusal::kDeadlineTooSoon};
  refused.offered_deadline_ns = 3'000'000'000;
  refused.offered_steps = 12;
  const absl::Status status = RefusalStatus(refused, 2'000'000'000, kNow);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(OfferOf(status).steps_max(), 12);
  EXPECT_EQ(FromTimestamp(OfferOf(status).earliest_deadline()), kNow.wall + absl::Seconds(2));
}

TEST(AdmissionTest, WhatIsUnknownOfAForecastIsUnset) {
  scheduler::Forecast forecast;
  forecast.wait = scheduler::Forecast::Wait::kNoReplica;
  const v1::Forecast unknown = ForecastToProto(forecast, kNow);
  EXPECT_FALSE(unknown.has_start_time());
  EXPECT_FALSE(unknown.has_end_time());
  EXPECT_EQ(unknown.wait_reason(), v1::WAIT_REASON_MODEL_LOADING);
  forecast.start_ns = 1'500'000'000;
  forecast.end_ns = 4'000'000'000;
  forecast.wait = scheduler::Forecast::Wait::kLate;
  const v1::Forecast known = ForecastToProto(forecast, kNow);
  EXPECT_EQ(FromTimestamp(known.start_time()), kNow.wall + absl::Milliseconds(500));
  EXPECT_EQ(FromTimestamp(known.end_time()), kNow.wall + absl::Seconds(3));
  EXPECT_EQ(known.wait_reason(), v1::WAIT_REASON_LATE);
}

}  // namespace
}  // namespace darkroom::engine
