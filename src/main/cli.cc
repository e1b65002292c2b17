// darkroom: the command line.
//
// Exit codes: 0 success; 1 to 16 the number of the canonical status code the command failed with
// (doctor: 1 when something is missing); 64 wrong command line; 130 interrupted.

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/resource_name.h"
#include "main/cli/command.h"
#include "main/signals.h"
#include "main/version.h"

namespace darkroom::cli {

namespace {

constexpr char kDefaultPort[] = ":50051";
constexpr char kFooter[] =
    "\nExit codes: 0 success; 1 to 16 the number of the gRPC status code, for example\n"
    "3 invalid argument, 5 not found, 8 resource exhausted, 14 unavailable; 64 wrong\n"
    "command line; 130 interrupted. doctor: 0 or 1.\n";

// Empty when it is one.
std::string IsTenantId(const std::string& text) {
  return IsValidId(text) ? "" : "must be 1 to 63 characters of a-z, 0-9 and -";
}

// Ctrl-C: the first breaks off what runs, and a second one ends the process.
void HandleInterrupts(Signals& signals, std::shared_ptr<Canceller> interrupt) {
  signals.Listen([interrupt = std::move(interrupt)](int) {
    if (interrupt->cancelled()) _exit(kExitInterrupted);
    interrupt->Cancel();
  });
}

int Main(int argc, char** argv) {
  CLI::App app("Darkroom: generate images with diffusion transformers");
  app.name("darkroom");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("darkroom ") + kVersion);
  app.require_subcommand(1);
  app.fallthrough();  // --json and --server may follow the command
  std::string server = absl::StrCat("127.0.0.1", kDefaultPort);
  bool json = false;
  app.add_option("--server", server, "HOST or HOST:PORT of the server (default 127.0.0.1:50051)")
      ->envname("DARKROOM_SERVER");
  std::string tenant;
  app.add_option("--tenant", tenant, "Whose the call is (default: the server's own, local)")
      ->envname("DARKROOM_TENANT")
      ->check(CLI::Validator(IsTenantId, "ID"));
  app.add_flag("--json", json, "Results as JSON, one object a line");
  Run run;
  AddGenerate(app, run);
  AddJobs(app, run);
  AddAssets(app, run);
  AddTop(app, run);
  AddModels(app, run);
  AddEval(app, run);
  AddDoctor(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }

  const Output output(json);
  auto interrupt = std::make_shared<Canceller>();
  std::unique_ptr<Signals> signals;
  if (run.handles_interrupt) {
    // Before the client's threads start, which inherit the mask.
    signals = std::make_unique<Signals>();
    HandleInterrupts(*signals, interrupt);
  }
  if (!absl::StrContains(server, ":")) server += kDefaultPort;
  Client client(server, tenant);
  Session session{client, output, *interrupt};
  return run.body(session);
}

}  // namespace
}  // namespace darkroom::cli

int main(int argc, char** argv) { return darkroom::cli::Main(argc, argv); }
