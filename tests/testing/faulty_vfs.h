#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace darkroom::testing {

// A disk for SQLite, in memory, that knows what was synced. It can fail an operation, cut the power
// at one, and afterwards keep, drop or mix what was written and never synced.
//
// Registered with SQLite under name() while it lives; outlives every connection that uses it. For
// connections in exclusive locking mode: it has no locks and no shared memory. One thread.
class FaultyVfs {
 public:
  enum class Fault {
    // The operation fails, those after it succeed: whoever ignores the error is found out.
    kIoError,
    kDiskFull,
    // This and every later operation fails without effect, until Restart.
    kPowerLoss,
  };
  enum class Unsynced {
    kKept,     // as after kill -9
    kDropped,  // as a disk that writes nothing before it must
    kMixed,    // each sector of 512 bytes by itself, as a disk that writes in any order
  };

  FaultyVfs();
  ~FaultyVfs();
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  const std::string& name() const { return name_; }

  // Lets the operation number `operation`, counted from 1 since the last Restart, fail.
  void FailAt(int64_t operation, Fault fault);
  // Reads, writes, truncations, syncs and deletions since the last Restart.
  int64_t operations() const { return operations_; }
  // Those after the one that failed, reads left out.
  int64_t changes_after_fault() const { return changes_after_fault_; }
  bool has_failed() const { return has_failed_; }

  // The machine starts again: nothing fails any more. REQUIRES: no connection is open.
  void Restart(Unsynced unsynced, uint64_t seed);
  // A new disk. REQUIRES: no connection is open.
  void Wipe();

 private:
  struct Change {
    enum class Kind { kWrite, kTruncate, kDelete };
    Kind kind;
    size_t offset;  // new size, for kTruncate
    std::string bytes;
  };
  struct Image {
    bool exists = false;
    std::string bytes;
    void Apply(const Change& change);
  };
  struct File {
    Image current;
    Image durable;
    std::vector<Change> pending;
    void Sync();
  };
  struct OpenFile;
  struct Methods;

  // The result code that this operation must fail with, or nothing.
  std::optional<int> Begin(bool is_change, int error_code);
  static Image Mix(const File& file, std::mt19937_64& random);

  const std::string name_;
  sqlite3_vfs vfs_ = {};
  std::map<std::string, File> files_;
  int64_t operations_ = 0;
  int64_t changes_after_fault_ = 0;
  int64_t fail_at_ = 0;
  Fault fault_ = Fault::kIoError;
  bool has_failed_ = false;
};

}  // namespace darkroom::testing
