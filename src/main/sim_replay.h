#pragma once

namespace darkroom {

// darkroom-sim --replay FILE: runs a daemon's decision log again and tells whether every command is
// the same. The exit code: 0 when all are; 1 when not, or the file is damaged; 2 when it cannot be
// read; 64 for a wrong command line.
bool IsReplay(int argc, char** argv);
int ReplayMain(int argc, char** argv);

}  // namespace darkroom
