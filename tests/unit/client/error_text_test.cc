#include "client/error_text.h"

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(ErrorTextTest, OneMistakeUnderThePersonsNameForIt) {
  const absl::Status status = Error(absl::StatusCode::kInvalidArgument, "STEPS_OUT_OF_RANGE",
                                    "sampling.steps is 0; must be 1 to 1000; nearest: 1")
                                  .Field("sampling.steps", "is 0; must be 1 to 1000; nearest: 1");
  EXPECT_EQ(ErrorText(status, {{"sampling.steps", "--steps"}}),
            "--steps is 0; must be 1 to 1000; nearest: 1 (INVALID_ARGUMENT, STEPS_OUT_OF_RANGE)");
  EXPECT_EQ(ErrorText(status, {}),
            "sampling.steps is 0; must be 1 to 1000; nearest: 1 "
            "(INVALID_ARGUMENT, STEPS_OUT_OF_RANGE)");
  const absl::Status broken = Error(absl::StatusCode::kInvalidArgument, "PICTURE_BROKEN",
                                    "inputs[1]: the picture ends in the middle")
                                  .Field("inputs[1]", "the picture ends in the middle");
  EXPECT_EQ(ErrorText(broken, {{"inputs[1]", "--mask"}}),
            "--mask: the picture ends in the middle (INVALID_ARGUMENT, PICTURE_BROKEN)");
}

TEST(ErrorTextTest, SeveralMistakesALineEach) {
  const absl::Status status = Error(absl::StatusCode::kInvalidArgument, "FIELDS_INVALID",
                                    "2 fields are invalid: width is 1; x. prompt is y")
                                  .Field("width", "is 1; must be 8")
                                  .Field("prompt", "is empty");
  EXPECT_EQ(ErrorText(status, {{"width", "--size"}}),
            "2 things are wrong:\n  --size is 1; must be 8\n  prompt is empty\n"
            "  (INVALID_ARGUMENT, FIELDS_INVALID)");
}

TEST(ErrorTextTest, RetryTimeAndStrangers) {
  EXPECT_EQ(ErrorText(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "the queue is full")
                          .RetryAfter(absl::Milliseconds(1500)),
                      {}),
            "the queue is full; retry in 1.5 s (RESOURCE_EXHAUSTED, QUEUE_FULL)");
  EXPECT_EQ(ErrorText(absl::InternalError("\x1b[2Jboo"), {}), "?[2Jboo (INTERNAL)");
}

}  // namespace
}  // namespace darkroom
