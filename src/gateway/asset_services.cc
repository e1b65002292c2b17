#include "gateway/asset_services.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string_view>
#include <utility>

#include "base/mutex.h"
#include "darkroom/v1/asset.grpc.pb.h"
#include "gateway/grpc_reply.h"
#include "gateway/limits.h"
#include "gateway/methods.h"
#include "gateway/unary_methods.h"

namespace darkroom {
namespace {

using grpc::ByteBuffer;
using Context = grpc::CallbackServerContext;

// One upload. The client's pieces are asked for one after the other, so that a fast client waits
// for us. Reactions come one at a time; the last is OnDone.
class UploadCall final : public grpc::ServerReadReactor<ByteBuffer> {
 public:
  UploadCall(Context& context, AssetApi& api, ByteBuffer& out)
      : context_(context), api_(api), out_(out), upload_(api.NewUpload()) {}

  void Start(absl::StatusOr<std::shared_ptr<Call>> call) {
    if (!call.ok()) return End(call.status());
    call_ = *std::move(call);
    StartRead(&in_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      // The client has said all, or is gone: in either case what came is checked as a whole, and
      // only a client that has said all gets past OnCancel.
      if (cancelled_.load()) return End(absl::CancelledError("the client is gone"));
      return api_.FinishUpload(call_, *upload_, [this](absl::StatusOr<v1::Asset> asset) {
        if (asset.ok()) out_ = SerializeMessage(*asset);
        End(asset.status());
      });
    }
    v1::UploadAssetRequest message;
    absl::Status status = ParseMessage(in_, message);
    if (status.ok()) status = upload_->Add(message);
    if (status.ok() && message.has_metadata()) status = api_.CheckUpload(*call_, *upload_);
    if (!status.ok()) return End(status);
    in_.Clear();
    StartRead(&in_);
  }
  void OnCancel() override { cancelled_.store(true); }
  void OnDone() override { delete this; }

 private:
  void End(const absl::Status& status) { Finish(EndStatus(status, context_)); }

  Context& context_;
  AssetApi& api_;
  ByteBuffer& out_;
  const std::unique_ptr<Upload> upload_;
  std::shared_ptr<Call> call_;
  ByteBuffer in_;
  std::atomic<bool> cancelled_{false};
};

// One download, a piece at a time.
class DownloadCall final : public grpc::ServerWriteReactor<ByteBuffer> {
 public:
  explicit DownloadCall(Context& context) : context_(context) {}

  void Hold(std::shared_ptr<Call> call) { call_ = std::move(call); }
  void Begin(absl::StatusOr<Payload> bytes) {
    if (!bytes.ok()) return End(bytes.status());
    bytes_ = *std::move(bytes);
    SendNext();
  }
  void End(const absl::Status& status) { Finish(EndStatus(status, context_)); }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client is gone"));
    SendNext();
  }
  void OnDone() override { delete this; }

 private:
  void SendNext() {
    const std::string_view rest = bytes_.bytes().substr(sent_);
    if (rest.empty()) return End(absl::OkStatus());
    const std::string_view piece = rest.substr(0, gateway_limits::kOutputChunkBytesMax);
    sent_ += piece.size();
    v1::DownloadAssetResponse response;
    response.set_data(piece.data(), piece.size());
    out_ = SerializeMessage(response);
    StartWrite(&out_);
  }

  Context& context_;
  std::shared_ptr<Call> call_;
  Payload bytes_;
  size_t sent_ = 0;
  ByteBuffer out_;
};

template <typename Base>
using RawUpload = v1::AssetService::WithRawCallbackMethod_UploadAsset<Base>;
template <typename Base>
using RawDownload = v1::AssetService::WithRawCallbackMethod_DownloadAsset<Base>;
template <typename Base>
using RawGet = v1::AssetService::WithRawCallbackMethod_GetAsset<Base>;
template <typename Base>
using RawList = v1::AssetService::WithRawCallbackMethod_ListAssets<Base>;
template <typename Base>
using RawDelete = v1::AssetService::WithRawCallbackMethod_DeleteAsset<Base>;

class AssetServiceImpl final
    : public RawUpload<RawDownload<RawGet<RawList<RawDelete<v1::AssetService::Service>>>>>,
      private UnaryMethods<AssetApi> {
 public:
  AssetServiceImpl(AssetApi& api, CallGate& gate) : UnaryMethods(api, gate) {}

  grpc::ServerReadReactor<ByteBuffer>* UploadAsset(Context* context, ByteBuffer* out) override {
    auto* upload = new UploadCall(*context, api_, *out);
    upload->Start(gate_.Enter(methods::asset_service::kUploadAsset, CredentialsOf(*context)));
    return upload;
  }
  grpc::ServerWriteReactor<ByteBuffer>* DownloadAsset(Context* context,
                                                      const ByteBuffer* in) override {
    auto* download = new DownloadCall(*context);
    v1::DownloadAssetRequest request;
    auto call = Enter(methods::asset_service::kDownloadAsset, *context, *in, request);
    if (!call.ok()) {
      download->End(call.status());
      return download;
    }
    download->Hold(*call);
    api_.DownloadAsset(
        *std::move(call), std::move(request),
        [download](absl::StatusOr<Payload> bytes) { download->Begin(std::move(bytes)); });
    return download;
  }
  grpc::ServerUnaryReactor* GetAsset(Context* context, const ByteBuffer* in,
                                     ByteBuffer* out) override {
    return Unary(methods::asset_service::kGetAsset, context, in, out, &AssetApi::GetAsset);
  }
  grpc::ServerUnaryReactor* ListAssets(Context* context, const ByteBuffer* in,
                                       ByteBuffer* out) override {
    return Unary(methods::asset_service::kListAssets, context, in, out, &AssetApi::ListAssets);
  }
  grpc::ServerUnaryReactor* DeleteAsset(Context* context, const ByteBuffer* in,
                                        ByteBuffer* out) override {
    return Unary(methods::asset_service::kDeleteAsset, context, in, out, &AssetApi::DeleteAsset);
  }
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAssetService(AssetApi& api, CallGate& gate) {
  return std::make_unique<AssetServiceImpl>(api, gate);
}

}  // namespace darkroom
