#include "ipc/tensor_ref.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ipc/limits.h"

namespace darkroom {
namespace {

v1::TensorRef Ref(v1::DType dtype, const std::vector<int64_t>& shape) {
  v1::TensorRef ref;
  ref.set_dtype(dtype);
  for (const int64_t dim : shape) ref.add_shape(dim);
  return ref;
}

TEST(TensorBytesTest, Products) {
  EXPECT_EQ(*TensorBytes(Ref(v1::DTYPE_F32, {2, 3, 4})), 96u);
  EXPECT_EQ(*TensorBytes(Ref(v1::DTYPE_U8, {5})), 5u);
  EXPECT_EQ(*TensorBytes(Ref(v1::DTYPE_I64, {})), 8u);
  EXPECT_EQ(*TensorBytes(Ref(v1::DTYPE_U8, {static_cast<int64_t>(kAttachmentBytesMax)})),
            kAttachmentBytesMax);
}

TEST(TensorBytesTest, RefusesEveryLie) {
  const int64_t max = std::numeric_limits<int64_t>::max();
  const int64_t min = std::numeric_limits<int64_t>::min();
  const std::vector<std::vector<int64_t>> shapes = {
      {0},
      {-1},
      {min},
      {max},
      {max, max},
      {int64_t{1} << 32, int64_t{1} << 32},
      {int64_t{1} << 31, int64_t{1} << 31, 4},
      {-2, -2},
      {3, 0, 3},
      {1, 1, 1, 1, 1, 1},
      {static_cast<int64_t>(kAttachmentBytesMax) + 1},
  };
  for (const auto& shape : shapes) {
    EXPECT_TRUE(absl::IsInvalidArgument(TensorBytes(Ref(v1::DTYPE_U8, shape)).status()))
        << ::testing::PrintToString(shape);
  }
  EXPECT_FALSE(TensorBytes(Ref(v1::DTYPE_UNSPECIFIED, {1})).ok());
  EXPECT_FALSE(TensorBytes(Ref(static_cast<v1::DType>(99), {1})).ok());
}

TEST(DTypeTest, RoundTrips) {
  for (const DType dtype :
       {DType::kF32, DType::kBf16, DType::kF16, DType::kU8, DType::kI32, DType::kI64}) {
    EXPECT_EQ(DTypeFromProto(ToProto(dtype)), dtype);
  }
  EXPECT_EQ(DTypeFromProto(v1::DTYPE_UNSPECIFIED), std::nullopt);
}

TEST(TensorWriterTest, SmallGoInlineAndLargeAsMemfd) {
  TensorWriter writer;
  const int64_t cap = static_cast<int64_t>(kInlineTensorBytesMax);
  v1::TensorRef small = Ref(v1::DTYPE_U8, {cap});
  v1::TensorRef large = Ref(v1::DTYPE_U8, {cap + 1});
  ASSERT_TRUE(writer.Put(Payload::Copy(std::string(cap, 's')), small).ok());
  ASSERT_TRUE(writer.Put(Payload::Copy(std::string(cap + 1, 'l')), large).ok());
  EXPECT_EQ(small.location_case(), v1::TensorRef::kInlineData);
  EXPECT_EQ(large.location_case(), v1::TensorRef::kMemfdIndex);
  const std::vector<Payload> attachments = writer.TakeAttachments();
  ASSERT_EQ(attachments.size(), 1u);
  EXPECT_EQ(ReadTensor(small, attachments)->bytes(), std::string(cap, 's'));
  EXPECT_EQ(ReadTensor(large, attachments)->bytes(), std::string(cap + 1, 'l'));
}

TEST(TensorWriterTest, AMemfdIsNotCopiedAgain) {
  auto memfd = Payload::CreateMemfd(kInlineTensorBytesMax + 4, [](absl::Span<char>) {});
  ASSERT_TRUE(memfd.ok());
  TensorWriter writer;
  v1::TensorRef ref = Ref(v1::DTYPE_F32, {static_cast<int64_t>(kInlineTensorBytesMax) / 4 + 1});
  ASSERT_TRUE(writer.Put(*memfd, ref).ok());
  EXPECT_EQ(writer.TakeAttachments()[0].fd(), memfd->fd());
}

TEST(TensorWriterTest, ManyInlineTensorsCannotOutgrowTheFrame) {
  TensorWriter writer;
  v1::PlanDone done;
  const Payload bytes = Payload::Copy(std::string(kInlineTensorBytesMax, 'x'));
  const size_t inline_max = kInlineBytesPerFrameMax / kInlineTensorBytesMax;
  absl::Status status;
  size_t count = 0;
  for (; status.ok(); ++count) {
    v1::TensorRef& ref = *done.add_jobs()->mutable_output();
    ref = Ref(v1::DTYPE_U8, {static_cast<int64_t>(kInlineTensorBytesMax)});
    status = writer.Put(bytes, ref);
    ASSERT_LE(count, 1000u);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(count - 1, inline_max + kFrameAttachmentsMax);
  EXPECT_LT(done.ByteSizeLong(), kFrameBytesMax);
  EXPECT_EQ(done.jobs(static_cast<int>(count) - 1).output().location_case(),
            v1::TensorRef::LOCATION_NOT_SET);
}

TEST(TensorWriterTest, RefusesAWrongSize) {
  TensorWriter writer;
  v1::TensorRef ref = Ref(v1::DTYPE_F32, {2});
  EXPECT_TRUE(absl::IsInvalidArgument(writer.Put(Payload::Copy("1234567"), ref)));
}

TEST(ReadTensorTest, RefusesEveryDisagreement) {
  auto memfd = Payload::CreateMemfd(8, [](absl::Span<char>) {});
  ASSERT_TRUE(memfd.ok());
  const std::vector<Payload> attachments = {*memfd};
  v1::TensorRef good = Ref(v1::DTYPE_F32, {2});
  good.set_size_bytes(8);
  good.set_memfd_index(0);
  ASSERT_TRUE(ReadTensor(good, attachments).ok());

  const auto refuses = [&](auto&& change) {
    v1::TensorRef bad = good;
    change(bad);
    return absl::IsInvalidArgument(ReadTensor(bad, attachments).status());
  };
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.set_memfd_index(1); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.set_memfd_index(-1); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.set_size_bytes(7); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.set_size_bytes(-8); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.set_shape(0, 3); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.set_dtype(v1::DTYPE_BF16); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.clear_location(); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) { ref.set_inline_data("1234567"); }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) {
    ref.set_shape(0, 3);
    ref.set_size_bytes(12);
  }));
  EXPECT_TRUE(refuses([](v1::TensorRef& ref) {
    const size_t size = kInlineTensorBytesMax + 4;
    ref.set_shape(0, static_cast<int64_t>(size / 4));
    ref.set_size_bytes(static_cast<int64_t>(size));
    ref.set_inline_data(std::string(size, 'x'));
  }));
  v1::TensorRef streamed = good;
  streamed.set_stream_id(1);
  EXPECT_TRUE(absl::IsUnimplemented(ReadTensor(streamed, attachments).status()));
}

}  // namespace
}  // namespace darkroom
