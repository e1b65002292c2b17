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
#include "main/cli/command.h"
#include "main/cli/connection_flags.h"
#include "main/signals.h"
#include "main/version.h"

namespace darkroom::cli {

namespace {

constexpr char kFooter[] =
    "\nExit codes: 0 success; 1 to 16 the number of the gRPC status code, for example\n"
    "3 invalid argument, 5 not found, 8 resource exhausted, 14 unavailable; 64 wrong\n"
    "command line; 130 interrupted. doctor: 0 or 1.\n";

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
  bool json = false;
  ConnectionFlags connection;
  AddConnectionFlags(app, connection);
  app.add_flag("--json", json, "Results as JSON, one object a line");
  Run run;
  AddGenerate(app, run);
  AddJobs(app, run);
  AddAssets(app, run);
  AddTop(app, run);
  AddTenants(app, run);
  AddKeys(app, run);
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
  auto options = ResolveConnection(connection);
  if (!options.ok()) return output.Fail(options.status());
  Client client(*std::move(options));
  Session session{client, output, *interrupt};
  return run.body(session);
}

}  // namespace
}  // namespace darkroom::cli

int main(int argc, char** argv) { return darkroom::cli::Main(argc, argv); }
