// What a hostile client sends: the server answers with a status, and serves the next client.

#include <arpa/inet.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "gateway/limits.h"
#include "gateway/methods.h"
#include "gateway_fixture.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"

namespace darkroom {
namespace {

using ::darkroom::testing::GatewayFixture;

class GatewayAbuseTest : public GatewayFixture {
 protected:
  void SetUp() override { StartGateway(); }
  void TearDown() override {
    // Whatever happened, the next client is served.
    grpc::ClientContext context;
    v1::ServerInfo info;
    auto channel = ChannelTo(gateway_->admin_port());
    EXPECT_TRUE(v1::ServerAdminService::NewStub(channel)
                    ->GetServerInfo(&context, v1::GetServerInfoRequest(), &info)
                    .ok());
    EXPECT_TRUE(Eventually([&] { return gateway_->open_calls() == 0; }));
  }

  // Sends bytes as the request of a unary method.
  grpc::Status CallRaw(const std::string& method, const std::string& bytes,
                       grpc::ClientContext& context, bool is_admin = false) {
    grpc::GenericStub stub(is_admin ? admin_channel_ : channel_);
    grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    std::mutex mutex;
    std::condition_variable done;
    bool finished = false;
    grpc::Status result;
    stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &response,
                   [&](grpc::Status status) {
                     std::lock_guard lock(mutex);
                     result = status;
                     finished = true;
                     done.notify_one();
                   });
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return finished; });
    return result;
  }
  grpc::Status CallRaw(const std::string& method, const std::string& bytes) {
    grpc::ClientContext context;
    return CallRaw(method, bytes, context);
  }
};

constexpr char kCreate[] = "/darkroom.v1.GenerationService/CreateGeneration";

TEST_F(GatewayAbuseTest, EveryMethodAnswersGarbageWithAReason) {
  for (const Method& method : methods::kAll) {
    const std::string service = method.service;
    if (service == "darkroom.v1.TenantAdminService") continue;  // not without keys
    const bool is_admin = service == "darkroom.v1.ServerAdminService";
    grpc::ClientContext context;
    const grpc::Status status = CallRaw(absl::StrCat("/", service, "/", method.name),
                                        "\xff\xff\xff\xff", context, is_admin);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method.name;
    EXPECT_EQ(Reason(status), "MESSAGE_MALFORMED") << method.name;
  }
}

TEST_F(GatewayAbuseTest, BrokenUtf8OnTheWire) {
  // GenerateRequest inside CreateGenerationRequest, prompt of one byte 0xff.
  const std::string request("\x0a\x03\x22\x01\xff", 5);
  EXPECT_EQ(Reason(CallRaw(kCreate, request)), "MESSAGE_MALFORMED");
}

TEST_F(GatewayAbuseTest, NestedGroupsBeyondTheParsersDepth) {
  EXPECT_EQ(Reason(CallRaw(kCreate, std::string(100'000, '\x0b'))), "MESSAGE_MALFORMED");
}

TEST_F(GatewayAbuseTest, UnknownMethodsAndReflectionAreUnimplemented) {
  for (const char* method :
       {"/darkroom.v1.GenerationService/Nothing", "/no.such.Service/X", "/", "/../../etc/passwd",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.channelz.v1.Channelz/GetServers"}) {
    EXPECT_EQ(CallRaw(method, "").error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
  }
}

TEST_F(GatewayAbuseTest, OversizedMessages) {
  v1::CreateGenerationRequest create;
  create.mutable_request()->set_prompt(std::string(1 << 20, 'x'));
  EXPECT_EQ(Reason(CallRaw(kCreate, create.SerializeAsString())), "PROMPT_TOO_LONG");
  create.mutable_request()->set_prompt(std::string(gateway_limits::kMessageBytesMax, 'x'));
  const int64_t before = ResidentBytes();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(CallRaw(kCreate, create.SerializeAsString()).error_code(),
              grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  EXPECT_LT(ResidentBytes() - before, 64 << 20);
}

// 64 MiB of zeros in 64 KiB of gzip.
TEST_F(GatewayAbuseTest, CompressedMessageIsNotExpanded) {
  const std::string zeros(64 << 20, '\0');
  const int64_t before = ResidentBytes();
  for (int i = 0; i < 4; ++i) {
    grpc::ClientContext context;
    context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    const grpc::Status status = CallRaw(kCreate, zeros, context);
    EXPECT_FALSE(status.ok());
  }
  EXPECT_LT(ResidentBytes() - before, 32 << 20);
}

TEST_F(GatewayAbuseTest, OversizedMetadata) {
  grpc::ClientContext context;
  for (int i = 0; i < 100; ++i) context.AddMetadata(absl::StrCat("x-", i), std::string(1000, 'y'));
  EXPECT_EQ(CallRaw(kCreate, "", context).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(GatewayAbuseTest, MillionTinyLabels) {
  // Map entries of 8 bytes each: as many as fit a message.
  std::string labels;
  for (int i = 0; i < 250'000; ++i) {
    labels += std::string("\x52\x05\x0a\x03", 4);
    labels += static_cast<char>(i & 0x7f);
    labels += static_cast<char>((i >> 7) & 0x7f);
    labels += static_cast<char>((i >> 14) & 0x7f);
  }
  std::string request = "\x0a";
  for (size_t size = labels.size(); size > 0; size >>= 7) {
    request += static_cast<char>((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
  }
  EXPECT_EQ(Reason(CallRaw(kCreate, request + labels)), "FIELDS_INVALID");
}

// A raw HTTP/2 client.
class RawConnection {
 public:
  explicit RawConnection(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval timeout{10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  }
  ~RawConnection() { close(fd_); }

  bool Send(const std::string& bytes) {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  static std::string Frame(char type, char flags, const std::string& payload) {
    std::string frame;
    for (const int shift : {16, 8, 0}) frame += static_cast<char>(payload.size() >> shift);
    frame += type;
    frame += flags;
    frame += std::string(4, '\0');  // stream 0
    return frame + payload;
  }
  // Reads frames until one of `type` comes; false when the connection ends first.
  bool AwaitFrame(char type) {
    while (true) {
      std::string header = Receive(9);
      if (header.size() < 9) return false;
      const auto byte = [&](int i) { return static_cast<unsigned char>(header[i]); };
      Receive((byte(0) << 16) | (byte(1) << 8) | byte(2));
      if (header[3] == type) return true;
    }
  }

 private:
  std::string Receive(size_t size) {
    std::string bytes(size, '\0');
    size_t received = 0;
    while (received < size) {
      const ssize_t got = recv(fd_, bytes.data() + received, size - received, 0);
      if (got <= 0) return bytes.substr(0, received);
      received += static_cast<size_t>(got);
    }
    return bytes;
  }
  const int fd_;
};

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr char kSettingsFrame = 4;
constexpr char kPingFrame = 6;
constexpr char kGoAwayFrame = 7;

TEST_F(GatewayAbuseTest, PingFloodIsToldToGoAway) {
  RawConnection connection(gateway_->port());
  ASSERT_TRUE(connection.Send(kPreface + RawConnection::Frame(kSettingsFrame, 0, "")));
  for (int i = 0; i < 20; ++i) {
    if (!connection.Send(RawConnection::Frame(kPingFrame, 0, std::string(8, 'p')))) break;
  }
  EXPECT_TRUE(connection.AwaitFrame(kGoAwayFrame));
}

TEST_F(GatewayAbuseTest, GarbageInsteadOfHttp2) {
  RawConnection connection(gateway_->port());
  connection.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + std::string(100'000, 'x'));
  EXPECT_FALSE(connection.AwaitFrame(kPingFrame));
}

}  // namespace
}  // namespace darkroom
