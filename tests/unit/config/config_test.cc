#include "config/config.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <string>

#include "base/error.h"
#include "config/config_file.h"
#include "config/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

Environment TestEnvironment() {
  return {.xdg_state_home = "",
          .home = "/ada",
          .working_directory = "/data/models",
          .program_directory = "/opt/darkroom/bin",
          .cores = 8};
}

v1::DaemonConfig OneModel() {
  v1::DaemonConfig proto;
  proto.add_models()->set_path("emoji");
  return proto;
}

absl::StatusOr<Config> Resolve(const std::function<void(v1::DaemonConfig&)>& change) {
  v1::DaemonConfig proto = OneModel();
  change(proto);
  return ResolveConfig(proto, TestEnvironment());
}

// The message of the refusal, which must be INVALID_ARGUMENT.
std::string Refusal(const std::function<void(v1::DaemonConfig&)>& change) {
  const auto config = Resolve(change);
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

TEST(ConfigTest, EveryDefaultIsResolved) {
  const auto config = ResolveConfig(OneModel(), TestEnvironment());
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->models.size(), 1);
  EXPECT_EQ(config->models[0].path, "emoji");
  EXPECT_EQ(config->models[0].name, "emoji");
  EXPECT_EQ(config->models[0].precision, "f32");
  EXPECT_EQ(config->listen.grpc, "127.0.0.1:50051");
  EXPECT_EQ(config->store.path, "/ada/.local/state/darkroom");
  EXPECT_EQ(config->store.retention_hours, 24);
  EXPECT_EQ(config->store.free_bytes_min, 256 << 20);
  EXPECT_EQ(config->workers.count, 1);
  EXPECT_EQ(config->workers.threads, 8);
  EXPECT_EQ(config->workers.checkpoint_steps, 10);
  EXPECT_EQ(config->workers.program, "/opt/darkroom/bin/darkroom-worker");
  EXPECT_EQ(config->workers.slots, 32);
  EXPECT_EQ(config->scheduler.step_tokens_max, 0) << "measured when a worker attaches";
  EXPECT_EQ(config->limits.queued_generations_per_tenant, 1000);
  EXPECT_EQ(config->limits.calls_max, 1024);
  EXPECT_EQ(config->drain_seconds_max, 60);
  EXPECT_EQ(config->log.level, "info");
  EXPECT_FALSE(config->log.json);
}

TEST(ConfigTest, WhatIsSetIsKept) {
  const auto config = Resolve([](v1::DaemonConfig& proto) {
    proto.mutable_models(0)->set_name("faces");
    proto.mutable_models(0)->set_precision("bf16");
    proto.mutable_listen()->set_grpc("[::1]:0");
    proto.mutable_store()->set_path("state");
    proto.mutable_store()->set_retention_hours(8760);
    proto.mutable_workers()->set_threads(3);
    proto.mutable_workers()->set_program("/bin/worker");
    proto.mutable_scheduler()->set_step_tokens_max(4096);
    proto.set_drain_seconds_max(0);
    proto.mutable_log()->set_level("warning");
    proto.mutable_log()->set_json(true);
  });
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->models[0].name, "faces");
  EXPECT_EQ(config->models[0].precision, "bf16");
  EXPECT_EQ(config->listen.grpc, "[::1]:0");
  EXPECT_EQ(config->store.path, "state");
  EXPECT_EQ(config->store.retention_hours, 8760);
  EXPECT_EQ(config->workers.threads, 3);
  EXPECT_EQ(config->workers.program, "/bin/worker");
  EXPECT_EQ(config->scheduler.step_tokens_max, 4096);
  EXPECT_EQ(config->drain_seconds_max, 0);
  EXPECT_EQ(config->log.level, "warning");
  EXPECT_TRUE(config->log.json);
}

TEST(ConfigTest, CoresAreSharedByEveryWorkerOfEveryModel) {
  const auto threads = [](int models, int count) {
    v1::DaemonConfig proto;
    for (int i = 0; i < models; ++i) proto.add_models()->set_path("m" + std::to_string(i));
    proto.mutable_workers()->set_count(count);
    return ResolveConfig(proto, TestEnvironment())->workers.threads;
  };
  EXPECT_EQ(threads(1, 2), 4);
  EXPECT_EQ(threads(2, 2), 2);
  EXPECT_EQ(threads(3, 1), 2);
  EXPECT_EQ(threads(4, 64), 1);
}

TEST(ConfigTest, AModelIsNamedAfterItsFolder) {
  const auto name = [](const std::string& path) {
    const auto config =
        Resolve([&](v1::DaemonConfig& proto) { proto.mutable_models(0)->set_path(path); });
    return config.ok() ? config->models[0].name : std::string(config.status().message());
  };
  EXPECT_EQ(name("a/b/emoji"), "emoji");
  EXPECT_EQ(name("a/b/emoji/"), "emoji");
  EXPECT_EQ(name("/emoji/."), "emoji");
  EXPECT_EQ(name("."), "models");
  EXPECT_EQ(name(".."), "data");
  EXPECT_EQ(name("a/SD 3.5_Large"), "sd-3-5-large");
  EXPECT_EQ(name("/"), "model");
}

TEST(ConfigTest, ModelsAreNeededAndNamedApart) {
  const auto none = ResolveConfig(v1::DaemonConfig(), TestEnvironment());
  EXPECT_EQ(ErrorReason(none.status()), "CONFIG_FIELD_MISSING");
  EXPECT_EQ(Refusal([](v1::DaemonConfig& proto) { proto.mutable_models(0)->clear_path(); }),
            "models[0].path is not set; it is the model's folder");
  EXPECT_EQ(Refusal([](v1::DaemonConfig& proto) { proto.add_models()->set_path("x/emoji"); }),
            "models[1].name is \"emoji\"; it must be unlike every other model's; set another "
            "name");
  EXPECT_THAT(Refusal([](v1::DaemonConfig& proto) {
                for (int i = 0; i < kConfigModelsMax; ++i) proto.add_models()->set_path("a");
              }),
              HasSubstr("may have up to 64"));
}

TEST(ConfigTest, StateGoesWhereTheEnvironmentSays) {
  Environment environment = TestEnvironment();
  environment.xdg_state_home = "/var/state";
  EXPECT_EQ(ResolveConfig(OneModel(), environment)->store.path, "/var/state/darkroom");
  environment.xdg_state_home.clear();
  environment.home.clear();
  EXPECT_EQ(ErrorReason(ResolveConfig(OneModel(), environment).status()), "CONFIG_FIELD_MISSING");
}

TEST(ConfigTest, PrecisionIsOneOfTwo) {
  EXPECT_EQ(
      Refusal([](v1::DaemonConfig& proto) { proto.mutable_models(0)->set_precision("fp16"); }),
      "models[0].precision is \"fp16\"; it must be f32 or bf16; nearest: \"bf16\"");
}

TEST(ConfigTest, LogLevelIsOneOfFour) {
  EXPECT_EQ(Refusal([](v1::DaemonConfig& proto) { proto.mutable_log()->set_level("warn"); }),
            "log.level is \"warn\"; it must be debug, info, warning or error; nearest: "
            "\"warning\"");
}

TEST(ConfigTest, TheFirstNumberOutOfRangeIsRefused) {
  EXPECT_EQ(Refusal([](v1::DaemonConfig& proto) {
              proto.mutable_store()->set_retention_hours(8761);
              proto.mutable_workers()->set_count(-1);
            }),
            "store.retention_hours is 8761; it must be 1 to 8760; nearest: 8760");
}

TEST(ConfigTest, LoadedErrorsNameTheLine) {
  const std::string path =
      ::testing::TempDir() + "config_test_" + std::to_string(getpid()) + ".yaml";
  std::ofstream(path) << "models:\n  - path: a\nlisten:\n  grpc: 0.0.0.0:1\n";
  const auto config = LoadConfig(path, TestEnvironment());
  EXPECT_THAT(std::string(config.status().message()),
              ::testing::StartsWith(path + ":4: listen.grpc is \"0.0.0.0:1\"; it must be"));
  EXPECT_EQ(ErrorReason(config.status()), "CONFIG_VALUE_INVALID");

  std::ofstream(path) << "models: [{path: a}]\nlog: {level: debug}\n";
  const auto good = LoadConfig(path, TestEnvironment());
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->log.level, "debug");
  std::remove(path.c_str());
}

TEST(ConfigTest, TheRealEnvironmentIsUsable) {
  const Environment environment = Environment::Real();
  EXPECT_GE(environment.cores, 1);
  EXPECT_EQ(environment.working_directory.front(), '/');
  EXPECT_EQ(environment.program_directory.front(), '/');
}

}  // namespace
}  // namespace darkroom
