#include "ipc/frame_connection.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "darkroom/v1/worker.pb.h"
#include "google/protobuf/stubs/logging.h"
#include "gtest/gtest.h"
#include "ipc/limits.h"
#include "ipc/tensor_ref.h"
#include "ipc/unix_stream.h"
#include "testing/descriptors.h"

namespace darkroom {
namespace {

using State = FrameConnection::ReadState;

std::string LittleEndian(uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i, value >>= 8) bytes.push_back(static_cast<char>(value & 0xff));
  return bytes;
}

std::string Frame(const google::protobuf::MessageLite& message, uint32_t attachments = 0) {
  const std::string body = message.SerializeAsString();
  return LittleEndian(static_cast<uint32_t>(body.size())) + LittleEndian(attachments) + body;
}

v1::ToWorker PingMessage(uint64_t nonce) {
  v1::ToWorker message;
  message.mutable_ping()->set_nonce(nonce);
  return message;
}

Payload Memfd(const std::string& bytes) {
  return *Payload::CreateMemfd(bytes.size(), [&](absl::Span<char> out) {
    std::memcpy(out.data(), bytes.data(), bytes.size());
  });
}

// A connection whose peer is a bare socket in the test's hands.
class FrameConnectionTest : public ::testing::Test {
 protected:
  FrameConnectionTest() {
    auto ends = UnixSocketPair();
    EXPECT_TRUE(ends.ok());
    peer_ = std::move(ends->first);
    connection_ = std::make_unique<FrameConnection>(
        std::make_unique<UnixStream>(std::move(ends->second), UnixStream::Mode::kNonBlocking));
  }

  void SendRaw(std::string_view bytes, const std::vector<int>& descriptors = {}) {
    UnixStream stream(UniqueFd(::dup(peer_.get())), UnixStream::Mode::kBlocking);
    while (!bytes.empty()) {
      const auto progress = stream.Write(bytes, descriptors);
      ASSERT_TRUE(progress.ok()) << progress.status();
      ASSERT_EQ(progress->state, ByteStream::State::kMoved);
      ASSERT_TRUE(descriptors.empty() || progress->bytes == bytes.size());
      bytes.remove_prefix(progress->bytes);
    }
  }
  void ClosePeer() { peer_.Reset(); }

  absl::StatusOr<State> Read() { return connection_->Read(message_, attachments_); }

  UniqueFd peer_;
  std::unique_ptr<FrameConnection> connection_;
  v1::ToWorker message_;
  std::vector<Payload> attachments_;
};

TEST_F(FrameConnectionTest, MessagesComeWholeWhereverTheBytesAreCut) {
  std::string bytes;
  for (uint64_t nonce = 1; nonce <= 3; ++nonce) bytes += Frame(PingMessage(nonce << 40));
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    std::vector<uint64_t> got;
    const auto drain = [&] {
      for (;;) {
        const auto state = Read();
        ASSERT_TRUE(state.ok()) << state.status();
        if (*state != State::kMessage) break;
        got.push_back(message_.ping().nonce() >> 40);
      }
    };
    SendRaw(bytes.substr(0, cut));
    drain();
    SendRaw(bytes.substr(cut));
    drain();
    EXPECT_EQ(got, (std::vector<uint64_t>{1, 2, 3})) << "cut at " << cut;
  }
}

TEST_F(FrameConnectionTest, TheEndBetweenFramesIsAnEndAndInsideOneIsALoss) {
  const std::string bytes = Frame(PingMessage(7));
  for (size_t length = 0; length < bytes.size(); ++length) {
    auto ends = UnixSocketPair();
    ASSERT_TRUE(ends.ok());
    peer_ = std::move(ends->first);
    connection_ = std::make_unique<FrameConnection>(
        std::make_unique<UnixStream>(std::move(ends->second), UnixStream::Mode::kNonBlocking));
    SendRaw(bytes.substr(0, length));
    ClosePeer();
    const auto state = Read();
    if (length == 0) {
      ASSERT_TRUE(state.ok());
      EXPECT_EQ(*state, State::kEnd);
    } else {
      EXPECT_TRUE(absl::IsDataLoss(state.status())) << "cut at " << length;
    }
  }
}

TEST_F(FrameConnectionTest, ALyingLengthIsRefusedOrCostsNothing) {
  SendRaw(LittleEndian(kFrameBytesMax + 1) + LittleEndian(0));
  EXPECT_TRUE(absl::IsInvalidArgument(Read().status()));
}

TEST_F(FrameConnectionTest, TheLargestLengthIsHeldOnlyAsItComes) {
  SendRaw(LittleEndian(kFrameBytesMax) + LittleEndian(0) + "few bytes");
  const auto state = Read();
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(*state, State::kWouldBlock);
}

TEST_F(FrameConnectionTest, AllOnesAreRefused) {
  SendRaw(std::string(64, '\xff'));
  EXPECT_TRUE(absl::IsInvalidArgument(Read().status()));
}

TEST_F(FrameConnectionTest, WhatIsNotTheMessageIsRefused) {
  // Field 6 (ping) of wire type 2 with a length beyond the frame.
  SendRaw(LittleEndian(2) + LittleEndian(0) + "\x32\x7f");
  EXPECT_TRUE(absl::IsInvalidArgument(Read().status()));
}

TEST_F(FrameConnectionTest, AttachmentsComeWithTheirOwnFrame) {
  auto ends = UnixSocketPair();
  ASSERT_TRUE(ends.ok());
  FrameConnection sender(
      std::make_unique<UnixStream>(UniqueFd(::dup(peer_.get())), UnixStream::Mode::kNonBlocking));
  // All written before any is read, so that the kernel holds frames with and without descriptors in
  // one queue.
  const std::vector<int> counts = {0, 1, 0, 0, 3, 1, 0, 253, 0, 2};
  for (size_t i = 0; i < counts.size(); ++i) {
    std::vector<Payload> attachments;
    for (int j = 0; j < counts[i]; ++j) attachments.push_back(Memfd(absl::StrCat(i, "/", j)));
    ASSERT_TRUE(sender.Queue(PingMessage(i), attachments).ok());
  }
  ASSERT_TRUE(*sender.Flush());
  for (size_t i = 0; i < counts.size(); ++i) {
    ASSERT_EQ(*Read(), State::kMessage);
    EXPECT_EQ(message_.ping().nonce(), i);
    ASSERT_EQ(attachments_.size(), static_cast<size_t>(counts[i]));
    for (int j = 0; j < counts[i]; ++j) {
      EXPECT_EQ(attachments_[j].bytes(), absl::StrCat(i, "/", j));
    }
  }
}

TEST_F(FrameConnectionTest, TooFewTooManyAndMisplacedAttachmentsAreRefusedAndClosed) {
  const std::string one = Frame(PingMessage(1), 1);
  const int before = testing::OpenDescriptors();
  const Payload memfd = Memfd("x");
  struct Case {
    const char* name;
    std::function<void()> send;
  };
  const std::vector<Case> cases = {
      {"announced and missing", [&] { SendRaw(one); }},
      {"more than announced",
       [&] {
         SendRaw(one, {memfd.fd(), memfd.fd()});
       }},
      {"unannounced", [&] { SendRaw(Frame(PingMessage(1)), {memfd.fd()}); }},
      {"with the body",
       [&] {
         SendRaw(one.substr(0, 8), {memfd.fd()});
         SendRaw(one.substr(8), {memfd.fd()});
       }},
      {"with the body instead",
       [&] {
         SendRaw(one.substr(0, 9));
         SendRaw(one.substr(9), {memfd.fd()});
       }},
      {"many with every byte of the header",
       [&] {
         const std::vector<int> many(200, memfd.fd());
         for (int i = 0; i < 3; ++i) SendRaw(one.substr(i, 1), many);
       }},
      {"a count of all ones", [&] { SendRaw(LittleEndian(2) + LittleEndian(~0u), {memfd.fd()}); }},
  };
  for (const Case& wrong : cases) {
    auto ends = UnixSocketPair();
    ASSERT_TRUE(ends.ok());
    peer_ = std::move(ends->first);
    connection_ = std::make_unique<FrameConnection>(
        std::make_unique<UnixStream>(std::move(ends->second), UnixStream::Mode::kNonBlocking));
    wrong.send();
    EXPECT_TRUE(absl::IsInvalidArgument(Read().status())) << wrong.name;
  }
  connection_.reset();
  attachments_.clear();
  ClosePeer();
  // `memfd` is open; the two ends of the first pair are not any more.
  EXPECT_EQ(testing::OpenDescriptors(), before - 2 + 1);
}

TEST_F(FrameConnectionTest, DescriptorsWithinTheHeaderBelongToItsFrame) {
  const std::string frame = Frame(PingMessage(1), 2);
  SendRaw(frame.substr(0, 3), {Memfd("first").fd()});
  EXPECT_EQ(*Read(), State::kWouldBlock);
  SendRaw(frame.substr(3), {Memfd("second").fd()});
  ASSERT_EQ(*Read(), State::kMessage);
  ASSERT_EQ(attachments_.size(), 2u);
  EXPECT_EQ(attachments_[0].bytes(), "first");
  EXPECT_EQ(attachments_[1].bytes(), "second");
}

TEST_F(FrameConnectionTest, AnUnsealedMemfdIsRefused) {
  UniqueFd memfd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(memfd.get(), 10), 0);
  SendRaw(Frame(PingMessage(1), 1), {memfd.get()});
  EXPECT_TRUE(absl::IsInvalidArgument(Read().status()));
}

TEST_F(FrameConnectionTest, AnOversizedMemfdIsRefused) {
  UniqueFd memfd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(memfd.get(), static_cast<off_t>(kAttachmentBytesMax) + 1), 0);
  ASSERT_EQ(::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), 0);
  SendRaw(Frame(PingMessage(1), 1), {memfd.get()});
  EXPECT_TRUE(absl::IsInvalidArgument(Read().status()));
}

TEST_F(FrameConnectionTest, RandomSplitsAndSizesKeepEveryMessageAndAttachment) {
  std::mt19937 random(20240817);
  std::vector<std::string> prompts;
  std::vector<std::vector<std::string>> tensors;
  std::string unread;
  // The writer cuts at random; the reader reads when it likes.
  size_t next = 0;
  const auto drain = [&] {
    for (;;) {
      const auto state = Read();
      ASSERT_TRUE(state.ok()) << state.status();
      if (*state == State::kWouldBlock) return;
      ASSERT_LT(next, prompts.size());
      ASSERT_EQ(message_.open_slot().prompt(), prompts[next]);
      ASSERT_EQ(attachments_.size(), tensors[next].size());
      for (size_t i = 0; i < attachments_.size(); ++i) {
        ASSERT_EQ(attachments_[i].bytes(), tensors[next][i]);
      }
      ++next;
    }
  };
  for (int i = 0; i < 400; ++i) {
    const size_t length = random() % 8 == 0 ? random() % 100'000 : random() % 100;
    prompts.emplace_back(length, static_cast<char>('a' + i % 26));
    v1::ToWorker message;
    message.mutable_open_slot()->set_prompt(prompts.back());
    std::vector<Payload> payloads;
    std::vector<int> descriptors;
    tensors.emplace_back();
    for (uint32_t j = random() % 4; j > 0; --j) {
      tensors.back().push_back(absl::StrCat("tensor ", i, " ", j));
      payloads.push_back(Memfd(tensors.back().back()));
      descriptors.push_back(payloads.back().fd());
    }
    std::string_view rest;
    const std::string frame = Frame(message, static_cast<uint32_t>(payloads.size()));
    rest = frame;
    while (!rest.empty()) {
      const size_t piece = std::min<size_t>(
          {rest.size(), 1 + random() % (random() % 2 == 0 ? 12 : 40'000), 100'000});
      SendRaw(rest.substr(0, piece), descriptors);
      descriptors.clear();
      rest.remove_prefix(piece);
      if (random() % 3 == 0) drain();
      // Never more than the socket holds, for there is no second thread.
      if (rest.size() > 20'000) drain();
    }
    drain();
  }
  EXPECT_EQ(next, prompts.size());
}

TEST_F(FrameConnectionTest, RandomBytesNeverCrash) {
  const google::protobuf::LogSilencer quiet;
  std::mt19937 random(7);
  const Payload memfd = Memfd("x");
  for (int round = 0; round < 3000; ++round) {
    auto ends = UnixSocketPair();
    ASSERT_TRUE(ends.ok());
    peer_ = std::move(ends->first);
    connection_ = std::make_unique<FrameConnection>(
        std::make_unique<UnixStream>(std::move(ends->second), UnixStream::Mode::kNonBlocking));
    v1::ToWorker message;
    message.mutable_open_slot()->set_prompt("a prompt");
    message.mutable_open_slot()->mutable_checkpoint()->mutable_latents()->add_shape(4);
    std::string bytes = Frame(message, random() % 2) + Frame(PingMessage(random()));
    for (uint32_t flips = random() % 6; flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    bytes.resize(random() % (bytes.size() + 1));
    if (!bytes.empty()) {
      SendRaw(bytes, random() % 2 == 0 ? std::vector<int>{} : std::vector<int>{memfd.fd()});
    }
    ClosePeer();
    // Ends: each call takes a frame or is the last.
    for (int calls = 0; calls < 10; ++calls) {
      const auto state = Read();
      if (!state.ok() || *state != State::kMessage) break;
    }
  }
}

TEST_F(FrameConnectionTest, AnOutgoingMessageThatFitsNoFrameIsRefused) {
  v1::ToWorker message;
  message.mutable_open_slot()->set_prompt(std::string(kFrameBytesMax, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(connection_->Queue(message, {})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      connection_->Queue(PingMessage(1), {Payload::Copy("heap bytes have no descriptor")})));
  EXPECT_TRUE(absl::IsInvalidArgument(connection_->Queue(
      PingMessage(1), std::vector<Payload>(kFrameAttachmentsMax + 1, Memfd("x")))));
  // And none of it was queued.
  ASSERT_TRUE(connection_->Queue(PingMessage(2), {}).ok());
  ASSERT_TRUE(*connection_->Flush());
  char byte;
  ASSERT_EQ(::recv(peer_.get(), &byte, 1, 0), 1);
  EXPECT_LT(byte, 20);
}

TEST_F(FrameConnectionTest, APeerThatDoesNotReadFillsTheQueue) {
  absl::Status status;
  size_t queued = 0;
  for (; status.ok() && queued < 10 * kSendQueueFramesMax; ++queued) {
    v1::ToWorker message;
    message.mutable_open_slot()->set_prompt(std::string(1000, 'x'));
    status = connection_->Queue(message, {});
    ASSERT_TRUE(connection_->Flush().ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << queued;
  EXPECT_GE(queued, kSendQueueFramesMax);
}

TEST_F(FrameConnectionTest, WritingToAClosedPeerIsAStatusAndNotASignal) {
  ClosePeer();
  ASSERT_TRUE(connection_->Queue(PingMessage(1), {}).ok());
  EXPECT_TRUE(absl::IsUnavailable(connection_->Flush().status()));
}

TEST_F(FrameConnectionTest, CloseReadWakesABlockedReader) {
  auto ends = UnixSocketPair();
  ASSERT_TRUE(ends.ok());
  FrameConnection blocking(
      std::make_unique<UnixStream>(std::move(ends->first), UnixStream::Mode::kBlocking));
  std::optional<State> state;
  std::thread reader([&] {
    v1::ToWorker message;
    std::vector<Payload> attachments;
    const auto result = blocking.Read(message, attachments);
    if (result.ok()) state = *result;
  });
  blocking.stream().CloseRead();
  reader.join();
  EXPECT_EQ(state, State::kEnd);
}

// A large frame and a large tensor, through blocking ends with a thread each.
TEST(FrameTransferTest, LargeFramesAndTensorsCross) {
  auto ends = UnixSocketPair();
  ASSERT_TRUE(ends.ok());
  FrameConnection sender(
      std::make_unique<UnixStream>(std::move(ends->first), UnixStream::Mode::kBlocking));
  FrameConnection receiver(
      std::make_unique<UnixStream>(std::move(ends->second), UnixStream::Mode::kBlocking));
  constexpr int64_t kFloats = (int64_t{64} << 20) / 4;
  std::thread writer([&] {
    v1::ToWorker message;
    v1::Checkpoint& checkpoint = *message.mutable_open_slot()->mutable_checkpoint();
    auto big = Payload::CreateMemfd(kFloats * 4, [](absl::Span<char> out) {
      for (size_t i = 0; i < out.size(); i += 4096) out[i] = static_cast<char>(i >> 12);
    });
    ASSERT_TRUE(big.ok());
    TensorWriter tensors;
    checkpoint.mutable_latents()->set_dtype(v1::DTYPE_F32);
    checkpoint.mutable_latents()->add_shape(kFloats);
    ASSERT_TRUE(tensors.Put(*big, *checkpoint.mutable_latents()).ok());
    message.mutable_open_slot()->set_prompt(std::string(15'000'000, 'p'));
    ASSERT_TRUE(sender.Queue(message, tensors.TakeAttachments()).ok());
    EXPECT_TRUE(*sender.Flush());
  });
  v1::ToWorker message;
  std::vector<Payload> attachments;
  const auto state = receiver.Read(message, attachments);
  writer.join();
  ASSERT_TRUE(state.ok()) << state.status();
  ASSERT_EQ(*state, State::kMessage);
  EXPECT_EQ(message.open_slot().prompt().size(), 15'000'000u);
  const auto tensor = ReadTensor(message.open_slot().checkpoint().latents(), attachments);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  ASSERT_EQ(tensor->size(), static_cast<size_t>(kFloats) * 4);
  for (size_t i = 0; i < tensor->size(); i += 4096) {
    ASSERT_EQ(tensor->bytes()[i], static_cast<char>(i >> 12));
  }
}

}  // namespace
}  // namespace darkroom
