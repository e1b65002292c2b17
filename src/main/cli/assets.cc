#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/wall_time.h"
#include "main/cli/command.h"
#include "main/cli/input_file.h"
#include "main/cli/names.h"

namespace darkroom::cli {
namespace {

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", FromTimestamp(time), absl::LocalTimeZone());
}

std::vector<std::string> RowOf(const v1::Asset& asset) {
  return {asset.sha256(), asset.media_type(), absl::StrCat(asset.width(), "x", asset.height()),
          absl::StrCat(asset.size_bytes()), TimeText(asset.expire_time())};
}

int ShowAsset(const absl::StatusOr<v1::Asset>& asset, Session& session) {
  if (!asset.ok()) return session.output.Fail(asset.status());
  if (session.output.json()) {
    session.output.Json(*asset);
  } else {
    session.output.Line(asset->name());
    session.output.Note(absl::StrCat(asset->media_type(), ", ", asset->width(), "x",
                                     asset->height(), ", ", asset->size_bytes(),
                                     " bytes, kept until ", TimeText(asset->expire_time())));
  }
  return 0;
}

int RunUpload(const std::string& path, Session& session) {
  const auto bytes = ReadPictureFile(path);
  if (!bytes.ok()) return session.output.Fail(bytes.status());
  return ShowAsset(session.client.UploadAsset(*bytes), session);
}

int RunList(int limit, Session& session) {
  std::vector<std::vector<std::string>> rows = {{"SHA256", "TYPE", "SIZE", "BYTES", "KEPT UNTIL"}};
  v1::ListAssetsRequest request;
  for (int missing = limit; missing > 0;) {
    request.set_page_size(std::min(missing, 1000));
    const auto page = session.client.ListAssets(request);
    if (!page.ok()) return session.output.Fail(page.status());
    for (const v1::Asset& asset : page->assets()) {
      if (session.output.json()) {
        session.output.Json(asset);
      } else {
        rows.push_back(RowOf(asset));
      }
    }
    missing -= page->assets_size();
    if (page->next_page_token().empty()) break;
    request.set_page_token(page->next_page_token());
  }
  if (!session.output.json()) session.output.Table(rows);
  return 0;
}

int RunDownload(const std::string& name, const std::string& out, Session& session) {
  const auto bytes = session.client.DownloadAsset(AssetNameOf(session.client.tenant(), name));
  if (!bytes.ok()) return session.output.Fail(bytes.status());
  std::ofstream file(out, std::ios::binary | std::ios::trunc);
  file << *bytes;
  if (!file.flush()) {
    return session.output.Fail(
        Error(absl::StatusCode::kPermissionDenied, "FILE_UNUSABLE",
              absl::StrCat("\"", Printable(out, 200), "\" cannot be written")));
  }
  session.output.Line(out);
  return 0;
}

int RunDelete(const std::string& name, Session& session) {
  const absl::Status status =
      session.client.DeleteAsset(AssetNameOf(session.client.tenant(), name));
  if (!status.ok()) return session.output.Fail(status);
  session.output.Note("deleted");
  return 0;
}

}  // namespace

void AddAssets(CLI::App& app, Run& run) {
  struct Flags {
    std::string name;
    std::string out;
    int limit = 50;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* assets = app.add_subcommand("assets", "Pictures that are kept on the server");
  assets->require_subcommand(1);
  CLI::App* upload = assets->add_subcommand("upload", "Upload a PNG, JPEG or WebP");
  upload->add_option("file", flags->name, "The picture")->required();
  upload->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunUpload(flags->name, session); };
  });
  CLI::App* list = assets->add_subcommand("list", "List them, newest first");
  list->add_option("--limit", flags->limit, "At most so many (default 50)")
      ->check(CLI::Range(1, 100'000));
  list->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunList(flags->limit, session); };
  });
  CLI::App* get = assets->add_subcommand("get", "Tell about one, or download it");
  get->add_option("name", flags->name, "Its name or SHA-256")->required();
  get->add_option("--out", flags->out, "Write its bytes here");
  get->callback([&run, flags] {
    run.body = [flags](Session& session) {
      if (!flags->out.empty()) return RunDownload(flags->name, flags->out, session);
      return ShowAsset(session.client.GetAsset(AssetNameOf(session.client.tenant(), flags->name)),
                       session);
    };
  });
  CLI::App* remove = assets->add_subcommand("delete", "Delete one");
  remove->add_option("name", flags->name, "Its name or SHA-256")->required();
  remove->callback([&run, flags] {
    run.body = [flags](Session& session) { return RunDelete(flags->name, session); };
  });
}

}  // namespace darkroom::cli
