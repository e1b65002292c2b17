#include "media/decode_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"
#include "ipc/frame_connection.h"
#include "ipc/unix_stream.h"
#include "testing/pictures.h"

namespace darkroom {
namespace {

using testing::MakePng;

// A request and what came with it; the reply and what came with that.
struct Exchange {
  v1::DecodePictureRequest request;
  std::vector<Payload> attachments;
  v1::DecodePictureReply reply;
  std::vector<Payload> pixels;

  Exchange(v1::DecodePictureRequest::Use use, const std::string& file) {
    request.set_use(use);
    if (file.empty()) return;
    request.mutable_file()->set_dtype(v1::DTYPE_U8);
    request.mutable_file()->add_shape(static_cast<int64_t>(file.size()));
    TensorWriter tensors;
    EXPECT_TRUE(tensors.Put(Payload::Copy(file), *request.mutable_file()).ok());
    attachments = tensors.TakeAttachments();
  }
  void Answer() {
    TensorWriter tensors;
    reply = AnswerDecode(request, attachments, tensors);
    pixels = tensors.TakeAttachments();
  }
  std::string Reason() {
    Answer();
    return ErrorReason(FromProto(reply.status()));
  }
  std::string Pixels() const {
    const auto bytes = ReadTensor(reply.pixels(), pixels);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.ok() ? std::string(bytes->bytes()) : "";
  }
};

TEST(DecodeServerTest, PixelsAreWhatTheyAreWantedFor) {
  const std::string png = MakePng({8, 4, PNG_COLOR_TYPE_RGBA});
  Exchange image(v1::DecodePictureRequest::USE_IMAGE, png);
  image.Answer();
  ASSERT_TRUE(FromProto(image.reply.status()).ok());
  EXPECT_EQ(image.reply.media_type(), "image/png");
  EXPECT_EQ(image.reply.width(), 8);
  EXPECT_EQ(image.reply.height(), 4);
  EXPECT_TRUE(image.reply.has_alpha());
  EXPECT_EQ(image.Pixels().size(), size_t{8} * 4 * 3);

  Exchange white(v1::DecodePictureRequest::USE_MASK_WHITE, png);
  Exchange black(v1::DecodePictureRequest::USE_MASK_BLACK, png);
  Exchange clear(v1::DecodePictureRequest::USE_MASK_TRANSPARENT, png);
  for (Exchange* mask : {&white, &black, &clear}) mask->Answer();
  const std::string painted = white.Pixels();
  std::string kept = black.Pixels();
  ASSERT_EQ(painted.size(), size_t{8} * 4);
  for (char& value : kept) value = static_cast<char>(~value);
  EXPECT_EQ(painted, kept) << "one is the other's opposite";
  const std::string transparent = clear.Pixels();
  EXPECT_NE(transparent, painted);
  EXPECT_TRUE(std::all_of(transparent.begin(), transparent.end(), [](char value) {
    return value == 0 || static_cast<unsigned char>(value) == 255;
  }));

  Exchange check(v1::DecodePictureRequest::USE_CHECK, png);
  check.Answer();
  EXPECT_EQ(check.reply.width(), 8);
  EXPECT_FALSE(check.reply.has_pixels());
}

TEST(DecodeServerTest, WhatIsWrongIsTheRepliesStatusAlone) {
  const std::string png = MakePng({});
  EXPECT_EQ(Exchange(v1::DecodePictureRequest::USE_IMAGE, "nonsense").Reason(),
            "PICTURE_FORMAT_UNKNOWN");
  Exchange opaque(v1::DecodePictureRequest::USE_MASK_TRANSPARENT, png);
  EXPECT_EQ(opaque.Reason(), "MASK_WITHOUT_ALPHA");
  EXPECT_EQ(opaque.reply.width(), 0) << "nothing but the status";
  Exchange useless(v1::DecodePictureRequest::USE_UNSPECIFIED, png);
  useless.Answer();
  EXPECT_FALSE(FromProto(useless.reply.status()).ok());
  Exchange fileless(v1::DecodePictureRequest::USE_IMAGE, "");
  fileless.Answer();
  EXPECT_FALSE(FromProto(fileless.reply.status()).ok());
  Exchange liar(v1::DecodePictureRequest::USE_IMAGE, png);
  liar.request.mutable_file()->set_shape(0, static_cast<int64_t>(png.size()) + 1);
  liar.Answer();
  EXPECT_FALSE(FromProto(liar.reply.status()).ok());
}

TEST(DecodeServerTest, ServesOneAfterTheOtherUntilTheDaemonGoes) {
  // A decoder lets itself compute for seconds only; the other tests of this process need more.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_CPU, &before), 0);
  auto sockets = UnixSocketPair();
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  absl::Status ended = absl::UnknownError("still running");
  std::thread server([&, socket = std::move(sockets->second)]() mutable {
    ended =
        ServeDecodes(std::make_unique<UnixStream>(std::move(socket), UnixStream::Mode::kBlocking));
  });
  {
    FrameConnection connection(
        std::make_unique<UnixStream>(std::move(sockets->first), UnixStream::Mode::kBlocking));
    for (const int width : {3, 300}) {
      const Exchange exchange(v1::DecodePictureRequest::USE_IMAGE, MakePng({width, 200}));
      ASSERT_TRUE(connection.Queue(exchange.request, exchange.attachments).ok());
      ASSERT_TRUE(connection.Flush().ok());
      v1::DecodePictureReply reply;
      std::vector<Payload> attachments;
      ASSERT_TRUE(connection.Read(reply, attachments).ok());
      EXPECT_EQ(reply.width(), width);
      EXPECT_TRUE(ReadTensor(reply.pixels(), attachments).ok());
    }
  }
  server.join();
  rlimit during{};
  ASSERT_EQ(::getrlimit(RLIMIT_CPU, &during), 0);
  EXPECT_NE(during.rlim_cur, before.rlim_cur) << "computing without end";
  ASSERT_EQ(::setrlimit(RLIMIT_CPU, &before), 0);
  EXPECT_TRUE(ended.ok()) << ended;
}

}  // namespace
}  // namespace darkroom
