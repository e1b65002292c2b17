#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/role_name.h"
#include "base/wall_time.h"
#include "main/cli/command.h"
#include "main/cli/names.h"

namespace darkroom::cli {
namespace {

struct CreateFlags {
  std::string role = "tenant_user";
  std::string title;
  int days = 0;  // 0: without an end
};

struct RotateFlags {
  std::string key;
  int overlap_hours = 24;
};

std::string TimeText(bool has, const google::protobuf::Timestamp& time) {
  if (!has) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M", FromTimestamp(time), absl::LocalTimeZone());
}

std::string KeyNameOf(const std::string& name_or_id) {
  return name_or_id.find('/') == std::string::npos ? absl::StrCat("keys/", name_or_id) : name_or_id;
}

// The text alone on standard output, so that a script can take it from there.
template <typename Response>
int ShowText(const absl::StatusOr<Response>& response, Session& session) {
  if (!response.ok()) return session.output.Fail(response.status());
  if (session.output.json()) {
    session.output.Json(*response);
    return 0;
  }
  session.output.Line(response->text());
  session.output.Note(absl::StrCat(response->key().name(), ", ", RoleName(response->key().role()),
                                   response->key().tenant().empty() ? "" : " of ",
                                   IdOf(response->key().tenant()),
                                   "; this is the only time that the key is shown"));
  return 0;
}

int RunCreate(const CreateFlags& flags, Session& session) {
  v1::ApiKey key;
  key.set_role(ParseRole(flags.role));
  if (IsTenantRole(key.role())) key.set_tenant(absl::StrCat("tenants/", session.client.tenant()));
  key.set_title(flags.title);
  if (flags.days > 0) {
    *key.mutable_expire_time() = ToTimestamp(absl::Now() + absl::Hours(24) * flags.days);
  }
  return ShowText(session.client.CreateApiKey(key), session);
}

int RunList(Session& session) {
  const auto keys = session.client.ListApiKeys("");
  if (!keys.ok()) return session.output.Fail(keys.status());
  std::vector<std::vector<std::string>> rows = {
      {"KEY", "STATE", "TENANT", "ROLE", "ROTATED", "ENDS", "TITLE"}};
  for (const v1::ApiKey& key : *keys) {
    if (session.output.json()) {
      session.output.Json(key);
      continue;
    }
    rows.push_back(
        {IdOf(key.name()),
         absl::AsciiStrToLower(absl::StripPrefix(v1::ApiKey::State_Name(key.state()), "STATE_")),
         IdOf(key.tenant()), RoleName(key.role()),
         TimeText(key.has_rotate_time(), key.rotate_time()),
         key.has_revoke_time() ? TimeText(true, key.revoke_time())
                               : TimeText(key.has_expire_time(), key.expire_time()),
         Printable(key.title(), 40)});
  }
  if (!session.output.json()) session.output.Table(rows);
  return 0;
}

int RunRotate(const RotateFlags& flags, Session& session) {
  v1::RotateApiKeyRequest request;
  request.set_name(KeyNameOf(flags.key));
  request.mutable_overlap()->set_seconds(int64_t{flags.overlap_hours} * 3600);
  return ShowText(session.client.RotateApiKey(request), session);
}

int RunRevoke(const std::string& name, Session& session) {
  const auto key = session.client.RevokeApiKey(KeyNameOf(name));
  if (!key.ok()) return session.output.Fail(key.status());
  if (session.output.json()) {
    session.output.Json(*key);
  } else {
    session.output.Line(absl::StrCat(key->name(), " is revoked"));
  }
  return 0;
}

// Empty when it is one.
std::string IsRole(const std::string& text) {
  return ParseRole(text) != v1::ROLE_UNSPECIFIED
             ? ""
             : "must be tenant_user, tenant_admin, operator or auditor";
}

}  // namespace

void AddKeys(CLI::App& app, Run& run) {
  CLI::App* keys = app.add_subcommand("key", "Manage API keys");
  keys->require_subcommand(1);
  keys->fallthrough();

  auto create_flags = std::make_shared<CreateFlags>();
  CLI::App* create = keys->add_subcommand("create", "Make a key for the tenant of --tenant");
  create
      ->add_option("--role", create_flags->role,
                   "tenant_user (default), tenant_admin, operator or auditor")
      ->check(CLI::Validator(IsRole, "ROLE"));
  create->add_option("--title", create_flags->title, "What it is used for");
  create->add_option("--days", create_flags->days, "Days until it ends (default: it does not)")
      ->check(CLI::Range(1, 36'500));
  create->callback([&run, create_flags] {
    run.body = [create_flags](Session& session) { return RunCreate(*create_flags, session); };
  });

  keys->add_subcommand("list", "Show the keys")->callback([&run] { run.body = &RunList; });

  auto rotate_flags = std::make_shared<RotateFlags>();
  CLI::App* rotate = keys->add_subcommand("rotate", "Give a key a new text");
  rotate->add_option("key", rotate_flags->key, "Its id")->required();
  rotate
      ->add_option("--overlap-hours", rotate_flags->overlap_hours,
                   "Hours that the present text stays good (default 24)")
      ->check(CLI::Range(0, 720));
  rotate->callback([&run, rotate_flags] {
    run.body = [rotate_flags](Session& session) { return RunRotate(*rotate_flags, session); };
  });

  auto revoked = std::make_shared<std::string>();
  CLI::App* revoke = keys->add_subcommand("revoke", "End a key at once and for good");
  revoke->add_option("key", *revoked, "Its id")->required();
  revoke->callback([&run, revoked] {
    run.body = [revoked](Session& session) { return RunRevoke(*revoked, session); };
  });
}

}  // namespace darkroom::cli
