// Keys, as an operator and a tenant use them: a real daemon, a worker without weights, and the
// command line.

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/daemon_process.h"
#include "testing/subprocess.h"
#include "testing/temp_folder.h"

namespace darkroom {
namespace {

using ::darkroom::testing::DaemonProcess;
using ::darkroom::testing::GenerateAndWait;
using ::darkroom::testing::PictureRequest;
using ::darkroom::testing::Subprocess;
using ::darkroom::testing::TempFolder;
using ::testing::HasSubstr;

struct Done {
  int exit_code = 0;
  std::string out;
  std::string err;
};

class IdentityTest : public ::testing::Test {
 protected:
  IdentityTest() {
    std::ofstream(folder_.path() + "/config.yaml")
        << "tenants: [{name: studio}, {name: rival}]\nauthentication: {}\n";
  }

  DaemonProcess::Options Options(const std::string& credential) {
    DaemonProcess::Options options;
    options.model = folder_.path() + "/model";
    options.state = folder_.path() + "/state";
    options.fake_worker = true;
    options.arguments = {"--config", folder_.path() + "/config.yaml"};
    options.credential = credential;
    return options;
  }
  std::string OperatorKey() {
    std::string key = folder_.Read("state/operator.key");
    absl::StripAsciiWhitespace(&key);
    return key;
  }
  // A new key's text, made over the API as the operator.
  std::string MakeKey(DaemonProcess& daemon, v1::Role role, const std::string& tenant,
                      std::string* name = nullptr) {
    Client::Options options = daemon.ClientOptions();
    options.credential = OperatorKey();
    v1::ApiKey key;
    key.set_role(role);
    key.set_tenant("tenants/" + tenant);
    const auto made = Client(options).CreateApiKey(key);
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return "";
    if (name != nullptr) *name = made->key().name();
    return made->text();
  }
  // The command line, with a key.
  Done Darkroom(DaemonProcess& daemon, const std::string& key,
                const std::vector<std::string>& arguments) {
    std::ofstream(folder_.path() + "/key") << key << "\n";
    std::vector<std::string> command = {std::string(DARKROOM_BIN_DIR) + "/darkroom",
                                        "--server",
                                        daemon.server(),
                                        "--admin-server",
                                        daemon.admin_server(),
                                        "--key-file",
                                        folder_.path() + "/key"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    Subprocess program(command);
    const int exit_code = program.Wait();
    return Done{exit_code, program.out(), program.err()};
  }

  const TempFolder folder_;
};

TEST_F(IdentityTest, FromTheFirstStartToARevokedKey) {
  std::string studio;
  std::string studio_name;
  {
    DaemonProcess daemon(Options(""));
    daemon.Start(/*ready=*/false);
    EXPECT_EQ(ErrorReason(daemon.client().ListModels().status()), "CREDENTIALS_MISSING");
    EXPECT_EQ(ErrorReason(daemon.client().GetStatus().status()), "CREDENTIALS_MISSING");
    struct stat about {};
    ASSERT_EQ(::stat((folder_.path() + "/state/operator.key").c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0600u);
    studio = MakeKey(daemon, v1::ROLE_TENANT_USER, "studio", &studio_name);
    EXPECT_EQ(daemon.Terminate(absl::Seconds(30)), 0);
  }
  // Another start knows the keys of the one before, and makes no second operator.
  const std::string operator_key = OperatorKey();
  DaemonProcess daemon(Options(studio));
  daemon.Start();
  EXPECT_EQ(OperatorKey(), operator_key);
  const auto generation = GenerateAndWait(daemon.client(), PictureRequest("a", 64, 3, 1));
  ASSERT_TRUE(generation.ok()) << generation.status();
  EXPECT_EQ(generation->state(), v1::Generation::STATE_SUCCEEDED);
  EXPECT_EQ(generation->name().find("tenants/studio/"), 0u);

  Client::Options rival = daemon.ClientOptions();
  rival.credential = MakeKey(daemon, v1::ROLE_TENANT_USER, "rival");
  EXPECT_EQ(Client(rival).GetGeneration(generation->name(), false).status().code(),
            absl::StatusCode::kNotFound);

  Client::Options operators = daemon.ClientOptions();
  operators.credential = operator_key;
  ASSERT_TRUE(Client(operators).RevokeApiKey(studio_name).ok());
  EXPECT_EQ(ErrorReason(daemon.client().ListModels().status()), "CREDENTIALS_INVALID");
  EXPECT_TRUE(Client(rival).ListModels().ok());
  // What is logged has no key in it.
  for (const std::string& key : {studio, operator_key, rival.credential}) {
    EXPECT_EQ(daemon.log().find(key.substr(key.rfind('_'))), std::string::npos);
  }
}

TEST_F(IdentityTest, TheCommandLineMakesUsesAndEndsKeys) {
  DaemonProcess daemon(Options(""));
  daemon.Start(/*ready=*/false);
  const auto darkroom = [&](const std::string& key, const std::vector<std::string>& arguments) {
    return Darkroom(daemon, key, arguments);
  };
  const auto made =
      darkroom(OperatorKey(), {"--tenant", "studio", "key", "create", "--title", "shop"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.out.find("drk_"), 0u);
  EXPECT_THAT(made.err, HasSubstr("tenant_user of studio"));
  const std::string key(absl::StripAsciiWhitespace(made.out));
  const std::string id = key.substr(4, 16);
  EXPECT_EQ(darkroom(key, {"models"}).exit_code, 0);
  EXPECT_EQ(darkroom(key, {"top"}).exit_code, 7);          // PERMISSION_DENIED
  EXPECT_EQ(darkroom("drk_x", {"models"}).exit_code, 16);  // UNAUTHENTICATED
  const auto listed = darkroom(OperatorKey(), {"key", "list"});
  EXPECT_THAT(listed.out, HasSubstr(id));
  EXPECT_THAT(listed.out, HasSubstr("shop"));
  const auto rotated = darkroom(OperatorKey(), {"key", "rotate", id, "--overlap-hours", "0"});
  ASSERT_EQ(rotated.exit_code, 0) << rotated.err;
  EXPECT_EQ(darkroom(key, {"models"}).exit_code, 16);
  const std::string next(absl::StripAsciiWhitespace(rotated.out));
  EXPECT_EQ(darkroom(next, {"models"}).exit_code, 0);
  EXPECT_EQ(darkroom(OperatorKey(), {"key", "revoke", id}).exit_code, 0);
  EXPECT_EQ(darkroom(next, {"models"}).exit_code, 16);
}

TEST_F(IdentityTest, ATenantComesAndGoesWhileTheServerRuns) {
  DaemonProcess daemon(Options(""));
  daemon.Start(/*ready=*/false);
  const std::string ops = OperatorKey();
  const auto darkroom = [&](const std::vector<std::string>& arguments) {
    return Darkroom(daemon, ops, arguments);
  };
  ASSERT_EQ(darkroom({"tenant", "create", "shop", "--weight", "2", "--steps-max", "5"}).exit_code,
            0);
  EXPECT_EQ(darkroom({"tenant", "create", "shop"}).exit_code, 6);  // ALREADY_EXISTS
  EXPECT_EQ(darkroom({"tenant", "update", "studio", "--weight", "2"}).exit_code, 9);
  EXPECT_EQ(darkroom({"tenant", "get", "nobody"}).exit_code, 5);
  EXPECT_THAT(darkroom({"tenant", "list"}).out, HasSubstr("configuration"));
  EXPECT_THAT(darkroom({"tenant", "get", "shop", "--json"}).out, HasSubstr("\"steps_max\":5"));

  Client::Options options = daemon.ClientOptions();
  options.credential = MakeKey(daemon, v1::ROLE_TENANT_USER, "shop");
  Client shop(options);
  while (shop.ListModels()->front().state() != v1::Model::STATE_READY) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  const auto made = GenerateAndWait(shop, PictureRequest("a", 64, 5, 1));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(ErrorReason(shop.CreateGeneration(PictureRequest("a", 64, 6, 1)).status()),
            "TENANT_STEPS");
  ASSERT_EQ(darkroom({"tenant", "update", "shop", "--steps-max", "1000"}).exit_code, 0);
  // Long enough to be still there when the tenant goes.
  EXPECT_TRUE(shop.CreateGeneration(PictureRequest("a", 64, 1000, 1)).ok());
  EXPECT_EQ(darkroom({"tenant", "delete", "shop"}).exit_code, 9);  // FAILED_PRECONDITION
  const auto deleted = darkroom({"tenant", "delete", "shop", "--force"});
  EXPECT_EQ(deleted.exit_code, 0) << deleted.err;
  EXPECT_EQ(ErrorReason(shop.ListModels().status()), "CREDENTIALS_INVALID");
  EXPECT_EQ(darkroom({"tenant", "get", "shop"}).exit_code, 5);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/state/blobs/tenants/shop"));

  // One of the same name finds nothing of it, and is still there after kill -9.
  ASSERT_EQ(darkroom({"tenant", "create", "shop", "--title", "again"}).exit_code, 0);
  daemon.Kill();
  DaemonProcess next(Options(""));
  next.Start(/*ready=*/false);
  EXPECT_THAT(Darkroom(next, ops, {"tenant", "get", "shop"}).out, HasSubstr("again"));
  options = next.ClientOptions();
  options.credential = MakeKey(next, v1::ROLE_TENANT_USER, "shop");
  const auto listed = Client(options).ListGenerations({});
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(listed->generations_size(), 0);
}

}  // namespace
}  // namespace darkroom
