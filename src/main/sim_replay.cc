#include "main/sim_replay.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "scheduler/decision_log.h"

namespace darkroom {
namespace {

constexpr std::string_view kFlag = "--replay";
constexpr int kExitDiffers = 1;
constexpr int kExitUnreadable = 2;
constexpr int kExitUsage = 64;

// A file's bytes, mapped.
class MappedFile {
 public:
  explicit MappedFile(const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (fd >= 0 && ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
      size_ = static_cast<size_t>(status.st_size);
      data_ = size_ == 0 ? nullptr : ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
      ok_ = data_ != MAP_FAILED;
    }
    if (fd >= 0) ::close(fd);
  }
  ~MappedFile() {
    if (ok_ && data_ != nullptr) ::munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  bool ok() const { return ok_; }
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  bool ok_ = false;
  void* data_ = nullptr;
  size_t size_ = 0;
};

int Tell(const absl::Status& status) {
  std::fprintf(stderr, "darkroom-sim: %s [%s]\n", std::string(status.message()).c_str(),
               ErrorReason(status).c_str());
  return kExitDiffers;
}

}  // namespace

bool IsReplay(int argc, char** argv) { return argc > 1 && argv[1] == kFlag; }

int ReplayMain(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: darkroom-sim --replay FILE\n");
    return kExitUsage;
  }
  const MappedFile file(argv[2]);
  if (!file.ok()) {
    std::fprintf(stderr, "darkroom-sim: cannot read the decision log\n");
    return kExitUnreadable;
  }
  auto replay = scheduler::DecisionReplay::Open(file.bytes());
  if (!replay.ok()) return Tell(replay.status());
  while (true) {
    const auto more = replay->Next();
    if (!more.ok()) return Tell(more.status());
    if (!*more) break;
  }
  if (replay->torn_bytes() > 0) {
    std::fprintf(stderr, "darkroom-sim: the last %lld bytes were never completely written\n",
                 static_cast<long long>(replay->torn_bytes()));
  }
  std::printf("%lld decisions, %lld commands, every one the same\n",
              static_cast<long long>(replay->decisions()),
              static_cast<long long>(replay->commands()));
  return 0;
}

}  // namespace darkroom
