#pragma once

#include <functional>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "client/client.h"
#include "main/cli/names.h"
#include "main/cli/output.h"

namespace darkroom::cli {

// What every command runs with.
struct Session {
  Client& client;
  const Output& output;
  // Cancelled by ctrl-C.
  Canceller& interrupt;
};

// The chosen command.
struct Run {
  std::function<int(Session&)> body;  // returns the exit code
  // Ctrl-C reaches `body` through Session.interrupt, instead of ending the process.
  bool handles_interrupt = false;
};

// Each adds its commands to `app`, and sets `run` when one is chosen.
void AddGenerate(CLI::App& app, Run& run);
void AddJobs(CLI::App& app, Run& run);
void AddAssets(CLI::App& app, Run& run);
void AddTop(CLI::App& app, Run& run);
void AddTenants(CLI::App& app, Run& run);
void AddKeys(CLI::App& app, Run& run);
void AddModels(CLI::App& app, Run& run);
void AddEval(CLI::App& app, Run& run);
void AddDoctor(CLI::App& app, Run& run);

}  // namespace darkroom::cli
