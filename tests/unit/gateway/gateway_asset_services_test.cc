// AssetService over a real connection, and what clients that break its rules get and leave behind.

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "darkroom/v1/asset.grpc.pb.h"
#include "gateway/reply_errors.h"
#include "gateway_fixture.h"

namespace darkroom {
namespace {

using ::darkroom::testing::GatewayFixture;

// Assets in memory; every answer comes from a thread of its own, as the contract has it.
class FakeAssets final : public Assets {
 public:
  void UploadAsset(const std::string& tenant, Payload bytes,
                   Done<absl::StatusOr<v1::Asset>> done) override {
    v1::Asset asset;
    asset.set_sha256(Sha256Hex(bytes.bytes()));
    asset.set_name(AssetName{tenant, asset.sha256()}.ToString());
    asset.set_size_bytes(static_cast<int64_t>(bytes.size()));
    MutexLock lock(mutex_);
    kept_[asset.sha256()] = std::move(bytes);
    Answer(std::move(done), absl::StatusOr<v1::Asset>(asset));
  }
  void GetAsset(const std::string& tenant, const std::string& sha256,
                Done<absl::StatusOr<v1::Asset>> done) override {
    MutexLock lock(mutex_);
    if (!kept_.contains(sha256)) {
      return Answer(std::move(done), absl::StatusOr<v1::Asset>(AssetNotFound()));
    }
    v1::Asset asset;
    asset.set_name(AssetName{tenant, sha256}.ToString());
    Answer(std::move(done), absl::StatusOr<v1::Asset>(asset));
  }
  void ListAssets(const AssetStore::ListQuery& query,
                  Done<absl::StatusOr<AssetStore::ListPage>> done) override {
    AssetStore::ListPage page;
    MutexLock lock(mutex_);
    for (const auto& [sha256, bytes] : kept_) {
      if (static_cast<int>(page.assets.size()) == query.page_size) {
        page.next_page_token = "more";
        break;
      }
      page.assets.emplace_back().set_sha256(sha256);
    }
    Answer(std::move(done), absl::StatusOr<AssetStore::ListPage>(page));
  }
  void ReadAsset(const std::string&, const std::string& sha256,
                 Done<absl::StatusOr<Payload>> done) override {
    MutexLock lock(mutex_);
    const auto found = kept_.find(sha256);
    Answer(std::move(done), found == kept_.end() ? absl::StatusOr<Payload>(AssetNotFound())
                                                 : absl::StatusOr<Payload>(found->second));
  }
  void DeleteAsset(const std::string&, const std::string& sha256,
                   Done<absl::Status> done) override {
    MutexLock lock(mutex_);
    Answer(std::move(done), kept_.erase(sha256) > 0 ? absl::OkStatus() : AssetNotFound());
  }
  size_t count() {
    MutexLock lock(mutex_);
    return kept_.size();
  }
  ~FakeAssets() override {
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  template <typename T>
  void Answer(Done<T> done, T value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    threads_.emplace_back([done = std::move(done), value = std::move(value)]() mutable {
      std::move(done)(std::move(value));
    });
  }

  Mutex mutex_;
  std::map<std::string, Payload> kept_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

class AssetServiceTest : public GatewayFixture {
 protected:
  void Start(bool with_assets = true) {
    Gateway::Options options;
    if (with_assets) options.pictures.assets = &assets_;
    options.upload_bytes_max = int64_t{3} << 20;
    StartGateway({}, options);
    stub_ = v1::AssetService::NewStub(channel_);
  }
  ~AssetServiceTest() override {
    // Before the assets, whose answers it waits for.
    if (gateway_ != nullptr) gateway_->Shutdown(absl::Seconds(5));
  }

  grpc::Status Upload(const std::vector<v1::UploadAssetRequest>& messages, v1::Asset& asset) {
    grpc::ClientContext context;
    const auto writer = stub_->UploadAsset(&context, &asset);
    for (const auto& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  static v1::UploadAssetRequest Metadata(int64_t size = 0, const std::string& parent = "") {
    v1::UploadAssetRequest message;
    message.mutable_metadata()->set_size_bytes(size);
    message.mutable_metadata()->set_parent(parent);
    return message;
  }
  static v1::UploadAssetRequest Data(const std::string& bytes) {
    v1::UploadAssetRequest message;
    message.set_data(bytes);
    return message;
  }

  FakeAssets assets_;
  std::unique_ptr<v1::AssetService::Stub> stub_;
};

TEST_F(AssetServiceTest, UploadGetListDownloadDelete) {
  Start();
  std::string bytes(size_t{2} << 20, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 % 251);
  v1::Asset asset;
  const size_t half = bytes.size() / 2;
  grpc::Status status = Upload({Metadata(static_cast<int64_t>(bytes.size()), "tenants/local"),
                                Data(bytes.substr(0, half)), Data(bytes.substr(half))},
                               asset);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(asset.name(), "tenants/local/assets/" + Sha256Hex(bytes));

  v1::GetAssetRequest get;
  get.set_name(asset.name());
  grpc::ClientContext get_context;
  EXPECT_TRUE(stub_->GetAsset(&get_context, get, &asset).ok());

  v1::DownloadAssetRequest download;
  download.set_name(asset.name());
  grpc::ClientContext download_context;
  const auto reader = stub_->DownloadAsset(&download_context, download);
  std::string back;
  for (v1::DownloadAssetResponse piece; reader->Read(&piece);) {
    EXPECT_LE(piece.data().size(), size_t{1} << 20);
    back += piece.data();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(back, bytes);

  v1::ListAssetsResponse list;
  grpc::ClientContext list_context;
  ASSERT_TRUE(stub_->ListAssets(&list_context, {}, &list).ok());
  EXPECT_EQ(list.assets_size(), 1);

  v1::DeleteAssetRequest erase;
  erase.set_name(asset.name());
  google::protobuf::Empty empty;
  grpc::ClientContext first;
  EXPECT_TRUE(stub_->DeleteAsset(&first, erase, &empty).ok());
  grpc::ClientContext second;
  status = stub_->DeleteAsset(&second, erase, &empty);
  EXPECT_EQ(Reason(status), "ASSET_NOT_FOUND");
}

TEST_F(AssetServiceTest, ForeignAndMissingGiveTheSameBytes) {
  Start();
  const std::string digest(64, 'b');
  std::vector<std::string> details;
  for (const char* tenant : {"local", "other"}) {
    v1::GetAssetRequest get;
    get.set_name(absl::StrCat("tenants/", tenant, "/assets/", digest));
    v1::Asset asset;
    grpc::ClientContext context;
    const grpc::Status status = stub_->GetAsset(&context, get, &asset);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    details.push_back(status.error_details());
  }
  EXPECT_EQ(details[0], details[1]);
}

TEST_F(AssetServiceTest, UploadsThatBreakTheRulesLeaveNothing) {
  Start();
  const struct {
    std::vector<v1::UploadAssetRequest> messages;
    std::string reason;
  } kRows[] = {
      {{}, "UPLOAD_OUT_OF_ORDER"},
      {{Data("x")}, "UPLOAD_OUT_OF_ORDER"},
      {{Metadata(), Metadata()}, "UPLOAD_OUT_OF_ORDER"},
      {{Metadata(0, "tenants/other"), Data("x")}, "TENANT_NOT_FOUND"},
      {{Metadata(0, "nonsense"), Data("x")}, "RESOURCE_NAME_INVALID"},
      {{Metadata(int64_t{4} << 20)}, "UPLOAD_TOO_LARGE"},
      {{Metadata(), Data(std::string((1 << 20) + 1, 'x'))}, "UPLOAD_PIECE_TOO_LARGE"},
      {{Metadata(), Data(std::string(1 << 20, 'x')), Data(std::string(1 << 20, 'x')),
        Data(std::string(1 << 20, 'x')), Data("x")},
       "UPLOAD_TOO_LARGE"},
      {{Metadata(2), Data("x")}, "UPLOAD_SIZE_MISMATCH"},
  };
  for (const auto& row : kRows) {
    v1::Asset asset;
    const grpc::Status status = Upload(row.messages, asset);
    EXPECT_EQ(Reason(status), row.reason);
  }
  EXPECT_EQ(assets_.count(), 0u);
}

TEST_F(AssetServiceTest, AClientThatGoesAwayInTheMiddleLeavesNothing) {
  Start();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    v1::Asset asset;
    const auto writer = stub_->UploadAsset(&context, &asset);
    writer->Write(Metadata(100));
    writer->Write(Data("the beginning"));
    context.TryCancel();
    EXPECT_FALSE(writer->Finish().ok());
  }
  v1::Asset asset;
  ASSERT_TRUE(Upload({Metadata(), Data("whole")}, asset).ok());
  EXPECT_EQ(assets_.count(), 1u);
}

TEST_F(AssetServiceTest, WithoutAStoreOfPicturesItSaysSo) {
  Start(false);
  v1::Asset asset;
  EXPECT_EQ(Reason(Upload({Metadata(), Data("x")}, asset)), "PICTURES_UNSUPPORTED");
  v1::ListAssetsResponse list;
  grpc::ClientContext context;
  EXPECT_EQ(stub_->ListAssets(&context, {}, &list).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace darkroom
