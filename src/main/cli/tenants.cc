#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "main/cli/command.h"
#include "main/cli/names.h"

namespace darkroom::cli {
namespace {

// What a tenant is to be; what is not given is left as it is.
struct TenantFlags {
  std::string id;
  std::optional<std::string> title;
  std::optional<double> weight;
  std::string service_class;
  std::string isolation;
  std::optional<std::vector<std::string>> models;
  std::optional<int> generations_max;
  std::optional<int> running_max;
  std::optional<double> generations_per_second;
  std::optional<int> generations_burst;
  std::optional<int64_t> pixels_max;
  std::optional<int> steps_max;
  std::optional<int64_t> asset_bytes_max;
  std::optional<double> budget_seconds;
  std::vector<std::string> reset;  // fields that go back to their defaults
  std::string etag;
  std::string request_id;
  bool force = false;
  bool validate_only = false;
};

std::string TenantNameOf(const std::string& name_or_id) {
  return name_or_id.find('/') == std::string::npos ? absl::StrCat("tenants/", name_or_id)
                                                   : name_or_id;
}

// "best-effort" for SERVICE_CLASS_BEST_EFFORT.
std::string Word(std::string value, std::string_view prefix) {
  value = absl::AsciiStrToLower(
      absl::StripPrefix(value, absl::string_view(prefix.data(), prefix.size())));
  for (char& c : value) c = c == '_' ? '-' : c;
  return value;
}
std::string Constant(std::string_view prefix, std::string word) {
  for (char& c : word) c = c == '-' ? '_' : absl::ascii_toupper(c);
  return std::string(prefix) + word;
}

// Fills in what was given, and names it in `mask`. The options have checked the words.
void Fill(const TenantFlags& flags, v1::Tenant& tenant, google::protobuf::FieldMask& mask) {
  const auto give = [&](const char* path, const auto& value, auto set) {
    if (!value) return;
    set(*value);
    mask.add_paths(path);
  };
  give("title", flags.title, [&](const auto& value) { tenant.set_title(value); });
  give("weight", flags.weight, [&](double value) { tenant.set_weight(value); });
  if (!flags.service_class.empty()) {
    v1::ServiceClass service_class = v1::SERVICE_CLASS_UNSPECIFIED;
    v1::ServiceClass_Parse(Constant("SERVICE_CLASS_", flags.service_class), &service_class);
    tenant.set_service_class(service_class);
    mask.add_paths("service_class");
  }
  if (!flags.isolation.empty()) {
    v1::Tenant::Isolation isolation = v1::Tenant::ISOLATION_UNSPECIFIED;
    v1::Tenant::Isolation_Parse(Constant("ISOLATION_", flags.isolation), &isolation);
    tenant.set_isolation(isolation);
    mask.add_paths("isolation");
  }
  give("models", flags.models, [&](const std::vector<std::string>& models) {
    for (const std::string& model : models) tenant.add_models(ModelNameOf(model));
  });
  v1::TenantQuotas& quotas = *tenant.mutable_quotas();
  give("quotas.generations_max", flags.generations_max,
       [&](int value) { quotas.set_generations_max(value); });
  give("quotas.running_max", flags.running_max, [&](int value) { quotas.set_running_max(value); });
  give("quotas.generations_per_second", flags.generations_per_second,
       [&](double value) { quotas.set_generations_per_second(value); });
  give("quotas.generations_burst", flags.generations_burst,
       [&](int value) { quotas.set_generations_burst(value); });
  give("quotas.pixels_max", flags.pixels_max, [&](int64_t value) { quotas.set_pixels_max(value); });
  give("quotas.steps_max", flags.steps_max, [&](int value) { quotas.set_steps_max(value); });
  give("quotas.asset_bytes_max", flags.asset_bytes_max,
       [&](int64_t value) { quotas.set_asset_bytes_max(value); });
  give("quotas.budget_seconds", flags.budget_seconds,
       [&](double value) { quotas.set_budget_seconds(value); });
  for (const std::string& path : flags.reset) mask.add_paths(path);
}

std::string QuotasText(const v1::TenantQuotas& quotas) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, bool has, auto value) {
    if (has) parts.push_back(absl::StrCat(name, " ", value));
  };
  add("generations", quotas.has_generations_max(), quotas.generations_max());
  add("running", quotas.has_running_max(), quotas.running_max());
  add("per second", quotas.has_generations_per_second(), quotas.generations_per_second());
  add("burst", quotas.has_generations_burst(), quotas.generations_burst());
  add("pixels", quotas.has_pixels_max(), quotas.pixels_max());
  add("steps", quotas.has_steps_max(), quotas.steps_max());
  add("asset bytes", quotas.has_asset_bytes_max(), quotas.asset_bytes_max());
  add("budget seconds", quotas.has_budget_seconds(), quotas.budget_seconds());
  return absl::StrJoin(parts, ", ");
}

int Show(const absl::StatusOr<std::vector<v1::Tenant>>& tenants, Session& session) {
  if (!tenants.ok()) return session.output.Fail(tenants.status());
  std::vector<std::vector<std::string>> rows = {
      {"TENANT", "FROM", "WEIGHT", "CLASS", "ISOLATION", "QUOTAS", "TITLE"}};
  for (const v1::Tenant& tenant : *tenants) {
    if (session.output.json()) {
      session.output.Json(tenant);
      continue;
    }
    const bool deleting = tenant.state() == v1::Tenant::STATE_DELETING;
    rows.push_back(
        {IdOf(tenant.name()),
         deleting ? "deleting" : Word(v1::Tenant::Source_Name(tenant.source()), "SOURCE_"),
         absl::StrCat(tenant.weight()),
         Word(v1::ServiceClass_Name(tenant.service_class()), "SERVICE_CLASS_"),
         Word(v1::Tenant::Isolation_Name(tenant.isolation()), "ISOLATION_"),
         QuotasText(tenant.quotas()), Printable(tenant.title(), 40)});
  }
  if (!session.output.json()) session.output.Table(rows);
  return 0;
}

int ShowOne(const absl::StatusOr<v1::Tenant>& tenant, Session& session) {
  if (!tenant.ok()) return session.output.Fail(tenant.status());
  return Show(std::vector<v1::Tenant>{*tenant}, session);
}

int RunCreate(const TenantFlags& flags, Session& session) {
  v1::CreateTenantRequest request;
  google::protobuf::FieldMask given;
  request.set_tenant_id(flags.id);
  Fill(flags, *request.mutable_tenant(), given);
  request.set_request_id(flags.request_id);
  request.set_validate_only(flags.validate_only);
  return ShowOne(session.client.CreateTenant(request), session);
}

int RunUpdate(const TenantFlags& flags, Session& session) {
  v1::UpdateTenantRequest request;
  Fill(flags, *request.mutable_tenant(), *request.mutable_update_mask());
  request.mutable_tenant()->set_name(TenantNameOf(flags.id));
  request.mutable_tenant()->set_etag(flags.etag);
  request.set_validate_only(flags.validate_only);
  return ShowOne(session.client.UpdateTenant(request), session);
}

int RunDelete(const TenantFlags& flags, Session& session) {
  v1::DeleteTenantRequest request;
  request.set_name(TenantNameOf(flags.id));
  request.set_etag(flags.etag);
  request.set_force(flags.force);
  request.set_validate_only(flags.validate_only);
  const absl::Status status = session.client.DeleteTenant(request);
  if (!status.ok()) return session.output.Fail(status);
  if (session.output.json()) {
    v1::Tenant gone;
    gone.set_name(request.name());
    session.output.Json(gone);
  } else {
    session.output.Line(
        absl::StrCat(request.name(), flags.validate_only ? " can be deleted" : " is deleted"));
  }
  return 0;
}

void AddTenantOptions(CLI::App* command, const std::shared_ptr<TenantFlags>& flags) {
  command->add_option("--title", flags->title, "For people");
  command->add_option("--weight", flags->weight, "Its share of the accelerators (default 1)");
  command->add_option("--class", flags->service_class, "guaranteed, target or best-effort")
      ->check(CLI::IsMember({"guaranteed", "target", "best-effort"}));
  command->add_option("--isolation", flags->isolation, "shared or exclusive-batch")
      ->check(CLI::IsMember({"shared", "exclusive-batch"}));
  command->add_option("--models", flags->models, "Models that there are for it (default: all)")
      ->delimiter(',');
  command->add_option("--generations-max", flags->generations_max, "Generations that wait or run");
  command->add_option("--running-max", flags->running_max, "Pictures made at once");
  command->add_option("--generations-per-second", flags->generations_per_second,
                      "Generations taken per second in the long run");
  command->add_option("--generations-burst", flags->generations_burst,
                      "Generations taken at once before that rate holds");
  command->add_option("--pixels-max", flags->pixels_max, "Width times height of one picture");
  command->add_option("--steps-max", flags->steps_max, "Steps of one picture");
  command->add_option("--asset-bytes-max", flags->asset_bytes_max, "Bytes of uploaded pictures");
  command->add_option("--budget-seconds", flags->budget_seconds,
                      "Accelerator time that it may take in all, from the server's start");
  command->add_flag("--validate-only", flags->validate_only, "Check, and change nothing");
}

}  // namespace

void AddTenants(CLI::App& app, Run& run) {
  CLI::App* tenants = app.add_subcommand("tenant", "Manage tenants");
  tenants->require_subcommand(1);
  tenants->fallthrough();
  const auto add = [&](const char* name, const char* what, auto body) {
    auto flags = std::make_shared<TenantFlags>();
    CLI::App* command = tenants->add_subcommand(name, what);
    command->add_option("id", flags->id, "Its id")->required();
    command->callback([&run, flags, body] {
      run.body = [flags, body](Session& session) { return body(*flags, session); };
    });
    return std::pair(command, flags);
  };

  const auto [create, create_flags] = add("create", "Make a tenant", &RunCreate);
  AddTenantOptions(create, create_flags);
  create->add_option("--request-id", create_flags->request_id,
                     "UUID: the same again makes no second one");
  const auto [update, update_flags] = add("update", "Change a tenant", &RunUpdate);
  AddTenantOptions(update, update_flags);
  update
      ->add_option("--reset", update_flags->reset,
                   "Fields that go back to their defaults, such as quotas.steps_max")
      ->delimiter(',');
  update->add_option("--etag", update_flags->etag, "Only if it is still this one");
  const auto [erase, erase_flags] =
      add("delete", "Delete a tenant with all that it has, its keys included", &RunDelete);
  erase->add_flag("--force", erase_flags->force, "Also when it has work that waits or runs");
  erase->add_option("--etag", erase_flags->etag, "Only if it is still this one");
  erase->add_flag("--validate-only", erase_flags->validate_only, "Check, and delete nothing");
  add("get", "Show a tenant", [](const TenantFlags& flags, Session& session) {
    return ShowOne(session.client.GetTenant(TenantNameOf(flags.id)), session);
  });
  tenants->add_subcommand("list", "Show the tenants")->callback([&run] {
    run.body = [](Session& session) { return Show(session.client.ListTenants(), session); };
  });
}

}  // namespace darkroom::cli
