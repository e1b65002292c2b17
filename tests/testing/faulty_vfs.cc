#include "testing/faulty_vfs.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace darkroom::testing {
namespace {

constexpr size_t kSectorBytes = 512;

std::string NextName() {
  static std::atomic<int> count{0};
  return absl::StrCat("darkroom-faulty-", ++count);
}

}  // namespace

// What SQLite sees as its file; lives in memory that SQLite gives.
struct FaultyVfs::OpenFile {
  sqlite3_file base;
  FaultyVfs* vfs;
  File* file;
};

void FaultyVfs::Image::Apply(const Change& change) {
  if (change.kind == Change::Kind::kDelete) {
    *this = Image();
    return;
  }
  exists = true;
  if (change.kind == Change::Kind::kTruncate) {
    bytes.resize(change.offset);
    return;
  }
  bytes.resize(std::max(bytes.size(), change.offset + change.bytes.size()));
  bytes.replace(change.offset, change.bytes.size(), change.bytes);
}

void FaultyVfs::File::Sync() {
  durable = current;
  pending.clear();
}

struct FaultyVfs::Methods {
  static OpenFile& Self(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }
  static FaultyVfs& Vfs(sqlite3_vfs* vfs) { return *static_cast<FaultyVfs*>(vfs->pAppData); }

  static void Change(File& file, Change::Kind kind, size_t offset, std::string bytes) {
    struct Change change {
      kind, offset, std::move(bytes)
    };
    file.current.Apply(change);
    file.pending.push_back(std::move(change));
  }

  static int Close(sqlite3_file*) { return SQLITE_OK; }

  static int Read(sqlite3_file* base, void* out, int size, sqlite3_int64 offset) {
    OpenFile& self = Self(base);
    if (const auto error = self.vfs->Begin(false, SQLITE_IOERR_READ)) return *error;
    const std::string& bytes = self.file->current.bytes;
    const size_t start = std::min(static_cast<size_t>(offset), bytes.size());
    const size_t found = std::min(static_cast<size_t>(size), bytes.size() - start);
    std::memcpy(out, bytes.data() + start, found);
    std::memset(static_cast<char*>(out) + found, 0, size - found);
    return found == static_cast<size_t>(size) ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
  }

  static int Write(sqlite3_file* base, const void* data, int size, sqlite3_int64 offset) {
    OpenFile& self = Self(base);
    const auto error = self.vfs->Begin(true, SQLITE_IOERR_WRITE);
    std::string bytes(static_cast<const char*>(data), size);
    if (error.has_value()) {
      // A disk that fails or fills up may have taken a part.
      if (self.vfs->fault_ == Fault::kPowerLoss) return *error;
      bytes.resize(bytes.size() / 2);
    }
    Change(*self.file, Change::Kind::kWrite, offset, std::move(bytes));
    return error.value_or(SQLITE_OK);
  }

  static int Truncate(sqlite3_file* base, sqlite3_int64 size) {
    OpenFile& self = Self(base);
    if (const auto error = self.vfs->Begin(true, SQLITE_IOERR_TRUNCATE)) return *error;
    Change(*self.file, Change::Kind::kTruncate, size, "");
    return SQLITE_OK;
  }

  static int Sync(sqlite3_file* base, int /*flags*/) {
    OpenFile& self = Self(base);
    // After a failed sync the unsynced changes stay pending: some of them may be on disk.
    if (const auto error = self.vfs->Begin(true, SQLITE_IOERR_FSYNC)) return *error;
    self.file->Sync();
    return SQLITE_OK;
  }

  static int FileSize(sqlite3_file* base, sqlite3_int64* size) {
    *size = static_cast<sqlite3_int64>(Self(base).file->current.bytes.size());
    return SQLITE_OK;
  }

  static int Lock(sqlite3_file*, int) { return SQLITE_OK; }
  static int CheckReservedLock(sqlite3_file*, int* is_reserved) {
    *is_reserved = 0;
    return SQLITE_OK;
  }
  static int FileControl(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
  static int SectorSize(sqlite3_file*) { return 4096; }
  // As the real one claims: a write never harms the bytes beside it.
  static int Characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

  static int Open(sqlite3_vfs* base, const char* name, sqlite3_file* out, int flags,
                  int* out_flags) {
    static constexpr sqlite3_io_methods kMethods = {1,
                                                    Close,
                                                    Read,
                                                    Write,
                                                    Truncate,
                                                    Sync,
                                                    FileSize,
                                                    Lock,
                                                    Lock,
                                                    CheckReservedLock,
                                                    FileControl,
                                                    SectorSize,
                                                    Characteristics,
                                                    nullptr,
                                                    nullptr,
                                                    nullptr,
                                                    nullptr,
                                                    nullptr,
                                                    nullptr};
    FaultyVfs& vfs = Vfs(base);
    OpenFile& self = Self(out);
    self.base.pMethods = nullptr;
    if (name == nullptr) return SQLITE_CANTOPEN;
    File& file = vfs.files_[name];
    if (!file.current.exists && (flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
    if (!file.current.exists) Change(file, Change::Kind::kTruncate, 0, "");
    self = OpenFile{{&kMethods}, &vfs, &file};
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
  }

  static int Delete(sqlite3_vfs* base, const char* name, int sync_folder) {
    FaultyVfs& vfs = Vfs(base);
    if (const auto error = vfs.Begin(true, SQLITE_IOERR_DELETE)) return *error;
    const auto file = vfs.files_.find(name);
    if (file == vfs.files_.end() || !file->second.current.exists) return SQLITE_IOERR_DELETE_NOENT;
    Change(file->second, Change::Kind::kDelete, 0, "");
    if (sync_folder != 0) file->second.Sync();
    return SQLITE_OK;
  }

  static int Access(sqlite3_vfs* base, const char* name, int /*flags*/, int* result) {
    FaultyVfs& vfs = Vfs(base);
    const auto file = vfs.files_.find(name);
    *result = file != vfs.files_.end() && file->second.current.exists &&
              !file->second.current.bytes.empty();
    return SQLITE_OK;
  }

  static int FullPathname(sqlite3_vfs*, const char* name, int size, char* out) {
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
  }
  static int Randomness(sqlite3_vfs*, int size, char* out) {
    std::memset(out, 0x5a, size);
    return size;
  }
  static int Sleep(sqlite3_vfs*, int micros) { return micros; }
  static int CurrentTime(sqlite3_vfs*, double* days) {
    *days = 2460000.5;
    return SQLITE_OK;
  }
  static int LastError(sqlite3_vfs*, int, char*) { return 0; }
};

FaultyVfs::FaultyVfs() : name_(NextName()) {
  vfs_.iVersion = 1;
  vfs_.szOsFile = sizeof(OpenFile);
  vfs_.mxPathname = 1024;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.xOpen = Methods::Open;
  vfs_.xDelete = Methods::Delete;
  vfs_.xAccess = Methods::Access;
  vfs_.xFullPathname = Methods::FullPathname;
  vfs_.xRandomness = Methods::Randomness;
  vfs_.xSleep = Methods::Sleep;
  vfs_.xCurrentTime = Methods::CurrentTime;
  vfs_.xGetLastError = Methods::LastError;
  sqlite3_vfs_register(&vfs_, /*makeDflt=*/0);
}

FaultyVfs::~FaultyVfs() { sqlite3_vfs_unregister(&vfs_); }

void FaultyVfs::FailAt(int64_t operation, Fault fault) {
  fail_at_ = operation;
  fault_ = fault;
}

std::optional<int> FaultyVfs::Begin(bool is_change, int error_code) {
  if (has_failed_ && fault_ == Fault::kPowerLoss) return error_code;
  if (has_failed_ && is_change) ++changes_after_fault_;
  if (++operations_ != fail_at_) return std::nullopt;
  has_failed_ = true;
  return fault_ == Fault::kDiskFull && is_change ? SQLITE_FULL : error_code;
}

FaultyVfs::Image FaultyVfs::Mix(const File& file, std::mt19937_64& random) {
  Image image = file.durable;
  const uint64_t kept_in_8 = random() % 9;
  // An entry of a folder that was never synced may be gone altogether.
  if (!image.exists && random() % 2 == 0) return image;
  for (const Change& change : file.pending) {
    if (change.kind == Change::Kind::kDelete) {
      // What comes after a deletion that did not reach the disk went to another file.
      if (random() % 2 == 0) return image;
      image.Apply(change);
    } else if (change.kind == Change::Kind::kTruncate) {
      if (random() % 8 < kept_in_8) image.Apply(change);
    }
    for (size_t start = 0; start < change.bytes.size();) {
      const size_t sector_end =
          (change.offset + start) / kSectorBytes * kSectorBytes + kSectorBytes;
      const size_t size = std::min(sector_end - change.offset, change.bytes.size()) - start;
      if (random() % 8 < kept_in_8) {
        image.Apply({change.kind, change.offset + start, change.bytes.substr(start, size)});
      }
      start += size;
    }
  }
  return image;
}

void FaultyVfs::Restart(Unsynced unsynced, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (auto& [name, file] : files_) {
    if (unsynced == Unsynced::kDropped) file.current = file.durable;
    if (unsynced == Unsynced::kMixed) file.current = Mix(file, random);
    file.Sync();
  }
  operations_ = 0;
  changes_after_fault_ = 0;
  fail_at_ = 0;
  has_failed_ = false;
}

void FaultyVfs::Wipe() {
  files_.clear();
  Restart(Unsynced::kDropped, 0);
}

}  // namespace darkroom::testing
